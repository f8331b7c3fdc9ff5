import dataclasses

import numpy as np
import pytest
from onnx import TensorProto, helper

from kidney.artifact import predictor as predictor_module
from kidney.artifact.predictor import Predictor, check_artifact
from kidney.errors import ArtifactError
from tests.helpers.pictures import gradient
from tests.helpers.tiny_model import (
    BIAS,
    CARD,
    CLASSES,
    SIDE,
    save_sealed,
    tiny_model,
    write_tiny_model,
)


@pytest.fixture
def predictor(tmp_path):
    return Predictor(write_tiny_model(tmp_path / "kidney.onnx"), threads=1)


def test_the_card_is_read(predictor):
    assert predictor.card == CARD


def test_an_answer_has_the_promised_shapes_and_values(predictor):
    (answer,) = predictor.predict([np.full((40, 50), 255, dtype=np.uint8)])
    assert answer.probabilities.shape == answer.logits.shape == (len(CLASSES),)
    assert answer.evidence.shape == (len(CLASSES), SIDE, SIDE)
    assert answer.ood_score is None
    np.testing.assert_allclose(answer.logits, [-3.0, 1.5, 3.5, 1.5], atol=1e-5)
    np.testing.assert_allclose(answer.logits, answer.evidence.mean(axis=(1, 2)) + BIAS, atol=1e-5)
    expected = np.exp(answer.logits) / np.exp(answer.logits).sum()
    np.testing.assert_allclose(answer.probabilities, expected, atol=1e-6)


def test_an_ood_score_is_passed_on(tmp_path):
    path = write_tiny_model(tmp_path / "kidney.onnx", ood_score=True)
    dark, bright = Predictor(path).predict(
        [np.zeros((40, 40), np.uint8), np.full((40, 40), 51, np.uint8)]
    )
    assert dark.ood_score == 0.0
    assert bright.ood_score == pytest.approx(0.2)


def test_an_output_that_is_not_known_is_passed_over(tmp_path):
    model = tiny_model()
    model.graph.output.insert(
        0, helper.make_tensor_value_info("small", TensorProto.FLOAT, ["N", 1, SIDE, SIDE])
    )
    path = save_sealed(model, tmp_path / "kidney.onnx")
    assert check_artifact(path) == CARD
    (with_more,) = Predictor(path).predict([gradient(40, 50)])
    (without,) = Predictor(write_tiny_model(tmp_path / "plain.onnx")).predict([gradient(40, 50)])
    np.testing.assert_array_equal(with_more.evidence, without.evidence)


def test_mixed_sizes_keep_their_order_and_equal_sizes_share_bounded_batches(predictor, monkeypatch):
    generator = np.random.default_rng(0)
    sizes = [(40, 50), (64, 32)] * 40
    slices = [generator.integers(0, 256, size, dtype=np.uint8) for size in sizes]
    batches = []
    run = predictor._run
    monkeypatch.setattr(
        predictor, "_run", lambda batch: [batches.append(batch.shape), *run(batch)][1:]
    )

    together = predictor.predict(slices)

    assert batches == [(32, 1, 40, 50), (8, 1, 40, 50), (32, 1, 64, 32), (8, 1, 64, 32)]
    for slice_, answer in zip(slices, together, strict=True):
        (alone,) = predictor.predict([slice_])
        np.testing.assert_allclose(answer.probabilities, alone.probabilities, atol=1e-6)


def test_large_slices_come_in_smaller_batches(predictor, monkeypatch):
    monkeypatch.setattr(predictor_module, "BATCH_PIXELS", 2 * 48 * 64)
    batches = []
    run = predictor._run
    monkeypatch.setattr(
        predictor, "_run", lambda batch: [batches.append(len(batch)), *run(batch)][1:]
    )
    assert len(predictor.predict([gradient()] * 3 + [gradient(96, 128)])) == 4
    assert batches == [2, 1, 1]


def test_nothing_in_nothing_out(predictor):
    assert predictor.predict([]) == []


@pytest.mark.parametrize(
    "wrong", [gradient().astype(np.float32), gradient()[None], np.zeros((0, 40), np.uint8)]
)
def test_other_arrays_are_refused(predictor, wrong):
    with pytest.raises(ValueError, match=r"slices\[1\] to be a uint8 array"):
        predictor.predict([gradient(), wrong])


@pytest.mark.parametrize("open_", [Predictor, check_artifact])
class TestRefusals:
    def test_a_missing_file(self, open_, tmp_path):
        with pytest.raises(ArtifactError, match="no such file") as refusal:
            open_(tmp_path / "kidney.onnx")
        assert "export.py" in refusal.value.remedy

    def test_a_folder(self, open_, tmp_path):
        with pytest.raises(ArtifactError):
            open_(tmp_path)

    @pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04" * 50])
    def test_a_file_that_is_not_onnx(self, open_, tmp_path, content):
        path = tmp_path / "kidney.onnx"
        path.write_bytes(content)
        with pytest.raises(ArtifactError):
            open_(path)

    def test_a_truncated_file(self, open_, tmp_path):
        path = write_tiny_model(tmp_path / "kidney.onnx")
        path.write_bytes(path.read_bytes()[:600])
        with pytest.raises(ArtifactError):
            open_(path)

    def test_an_onnx_file_without_a_card(self, open_, tmp_path):
        with pytest.raises(ArtifactError, match="model card"):
            open_(write_tiny_model(tmp_path / "kidney.onnx", card=None))

    def test_a_threshold_for_a_score_that_the_graph_does_not_give(self, open_, tmp_path):
        card = dataclasses.replace(CARD, rules=dataclasses.replace(CARD.rules, ood_above=1.0))
        open_(write_tiny_model(tmp_path / "with.onnx", card=card, ood_score=True))
        with pytest.raises(ArtifactError, match="ood_score"):
            open_(write_tiny_model(tmp_path / "without.onnx", card=card))

    def test_a_card_with_other_classes(self, open_, tmp_path):
        sets = {"normal": 0.15, "tumor": 0.15}
        rules = dataclasses.replace(CARD.rules, suspect_from={"tumor": 0.1}, set_from=sets)
        names = {name: CARD.names[name] for name in ("normal", "tumor")}
        card = dataclasses.replace(
            CARD, classes=tuple(names), names=names, bias=CARD.bias[:2], rules=rules
        )
        with pytest.raises(ArtifactError, match="probabilities of shape"):
            open_(write_tiny_model(tmp_path / "kidney.onnx", card=card))

    def test_a_graph_without_evidence(self, open_, tmp_path):
        model = tiny_model()
        del model.graph.output[2]
        with pytest.raises(ArtifactError, match="outputs probabilities, logits, evidence"):
            open_(save_sealed(model, tmp_path / "kidney.onnx"))

    @pytest.mark.parametrize("position", [0, 2, 3])
    def test_a_graph_for_one_size_only(self, open_, tmp_path, position):
        model = tiny_model()
        model.graph.input[0].type.tensor_type.shape.dim[position].dim_value = 64
        with pytest.raises(ArtifactError, match="of any N, H and W"):
            open_(save_sealed(model, tmp_path / "kidney.onnx"))

    def test_a_graph_that_takes_floats(self, open_, tmp_path):
        model = tiny_model()
        model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
        with pytest.raises(ArtifactError, match="uint8"):
            open_(save_sealed(model, tmp_path / "kidney.onnx"))
