import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kidney.artifact.card import METADATA_KEY, EvaluatedSplit, TrainingData
from kidney.artifact.integrity import seal
from kidney.artifact.predictor import Predictor
from kidney.errors import ArtifactError
from kidney.export.build import build_artifact, converted_path
from kidney.export.verify import LIMITS, check_gaps, verify
from kidney.files import sha256
from kidney.models.checkpoint import load_checkpoint
from tests.helpers.small_network import (
    CLASSES,
    IMAGE_SIZE,
    LINEAGE,
    RULES,
    random_slices,
    small_task,
    write_checkpoint,
)

SLICES = [
    random_slices(1, height, width)[0, 0].numpy()
    for height, width in ((IMAGE_SIZE, IMAGE_SIZE), (50, 70), (130, 90))
]
LABELS = np.array([0, 1, 2])
FIGURES = {"macro_auroc": {"value": 0.7, "low": 0.6, "high": 0.8}}


def write_evaluation(checkpoint: Path, path: Path) -> Path:
    """Write what evaluation says of a checkpoint, as far as an export reads it."""
    result = {
        "model": {"checkpoint": sha256(checkpoint)},
        "split": {**LINEAGE["split"], "part": "test"},
        "slices": 40,
        "scans": 8,
        "figures": FIGURES,
        "confusion": [],
    }
    path.write_text(json.dumps(result))
    return path


def write_trained(folder: Path, **settings: Any) -> Path:
    task = small_task(**settings)
    with torch.no_grad():
        task.classifier.head.bias.copy_(torch.tensor([0.3, -0.2, 0.1, 0.4]))
    return write_checkpoint(task, folder / "model.ckpt")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A checkpoint and its kidney.onnx."""
    folder = tmp_path_factory.mktemp("exported")
    checkpoint = write_trained(folder)
    path = folder / "artifacts" / "kidney.onnx"
    evaluation = write_evaluation(checkpoint, folder / "metrics.json")
    build_artifact(checkpoint, evaluation, SLICES, LABELS, path)
    return checkpoint, path


def test_the_file_stands_alone_and_says_what_torch_says(exported: tuple[Path, Path]):
    checkpoint, path = exported
    assert [file.name for file in path.parent.iterdir()] == ["kidney.onnx"]
    classifier = load_checkpoint(checkpoint).classifier
    for slice_, answer in zip(SLICES, Predictor(path).predict(SLICES), strict=True):
        with torch.inference_mode():
            ours = classifier(torch.from_numpy(slice_)[None, None])
        np.testing.assert_allclose(answer.probabilities, ours.probabilities[0], atol=1e-6)
        np.testing.assert_allclose(answer.logits, ours.logits[0], atol=1e-5)
        np.testing.assert_allclose(answer.evidence, ours.evidence[0], atol=1e-5)


def test_the_card_tells_where_the_model_comes_from(exported: tuple[Path, Path]):
    checkpoint, path = exported
    card = Predictor(path).card
    classifier = load_checkpoint(checkpoint).classifier
    assert card.classes == tuple(CLASSES)
    assert card.image_size == IMAGE_SIZE
    assert dataclasses.asdict(card.rules) == RULES
    assert card.bias == pytest.approx(classifier.head.bias.tolist())
    assert dataclasses.asdict(card.metrics)["figures"] == FIGURES
    assert card.metrics.split == EvaluatedSplit(
        **{**LINEAGE["split"], "validation_folds": (1,)}, part="test"
    )
    assert (card.metrics.slices, card.metrics.scans) == (40, 8)
    assert card.names["tumor"] == "tumour (kidney mass)"
    assert (card.input.dtype, card.input.smallest_side) == ("uint8", 32)
    assert (card.window.center, card.window.width) == (40, 400)
    assert (card.weights, card.weights_licence[:11]) == ("none", "none needed")
    assert (card.precision, card.made_from) == ("float32", None)
    assert card.data == TrainingData(**LINEAGE["data"])
    assert (card.run, card.code) == (LINEAGE["run"], LINEAGE["code"])


def refused(checkpoint: Path, evaluation: Path, folder: Path) -> str:
    """Build beside an older artifact; return why that was refused."""
    path = folder / "artifacts" / "kidney.onnx"
    path.parent.mkdir()
    path.write_bytes(b"the artifact of yesterday")
    with pytest.raises(ArtifactError) as error:
        build_artifact(checkpoint, evaluation, SLICES, LABELS, path)
    assert [file.name for file in path.parent.iterdir()] == ["kidney.onnx"]
    assert path.read_bytes() == b"the artifact of yesterday"
    return str(error.value)


def test_a_checkpoint_without_an_evaluation_is_not_exported(tmp_path: Path):
    said = refused(write_trained(tmp_path), tmp_path / "metrics.json", tmp_path)
    assert "scripts/evaluate.py" in said


def test_figures_of_another_checkpoint_are_not_borrowed(tmp_path: Path):
    other = tmp_path / "other"
    other.mkdir()
    evaluation = write_evaluation(write_trained(other, learning_rate=0.5), tmp_path / "m.json")
    said = refused(write_trained(tmp_path), evaluation, tmp_path)
    assert "scripts/evaluate.py" in said
    assert sha256(other / "model.ckpt")[:12] in said


def test_a_model_of_a_leaky_split_is_not_exported(tmp_path: Path):
    lineage = {**LINEAGE, "split": {**LINEAGE["split"], "name": "leaky"}}
    checkpoint = write_trained(tmp_path, lineage=lineage)
    evaluation = write_evaluation(checkpoint, tmp_path / "metrics.json")
    assert "split=by_patient" in refused(checkpoint, evaluation, tmp_path)


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"model": {}}'])
def test_an_evaluation_that_cannot_be_read_is_said(tmp_path: Path, content: str):
    evaluation = tmp_path / "metrics.json"
    evaluation.write_text(content)
    assert "scripts/evaluate.py" in refused(write_trained(tmp_path), evaluation, tmp_path)


def test_a_true_file_is_verified(exported: tuple[Path, Path]):
    checkpoint, path = exported
    found = verify(load_checkpoint(checkpoint).classifier, path, SLICES, LABELS)
    assert found.largest.keys() == LIMITS.keys()
    assert 0 <= found.largest["probabilities"] < 1e-5
    assert 0 <= found.largest["decomposition"] < 1e-4
    assert found.slices == 3
    assert found.batches == (1, 3, 5)
    assert len(found.sizes) >= 4  # as they are, and of the batches


@pytest.mark.parametrize("change", [1.02, float("nan"), float("inf")], ids=str)
def test_a_file_that_disagrees_with_torch_is_refused(exported: tuple[Path, Path], change: float):
    checkpoint, path = exported
    other = copy.deepcopy(load_checkpoint(checkpoint).classifier)
    with torch.no_grad():
        other.head.weight[2] *= change
    with pytest.raises(ArtifactError, match="agree with torch"):
        verify(other, path, SLICES, LABELS)


def test_a_card_with_another_bias_breaks_the_decomposition_and_is_refused(
    exported: tuple[Path, Path], tmp_path: Path
):
    import onnx

    checkpoint, path = exported
    model = onnx.load(path)
    (entry,) = (entry for entry in model.metadata_props if entry.key == METADATA_KEY)
    card = json.loads(entry.value)
    card["bias"][1] += 0.01
    entry.value = json.dumps(card)
    onnx.save(model, tmp_path / "kidney.onnx")
    seal(tmp_path / "kidney.onnx")
    with pytest.raises(ArtifactError, match="decomposition"):
        verify(load_checkpoint(checkpoint).classifier, tmp_path / "kidney.onnx", SLICES, LABELS)


def test_a_file_that_was_compared_with_nothing_is_not_verified(exported: tuple[Path, Path]):
    checkpoint, path = exported
    with pytest.raises(ArtifactError):
        verify(load_checkpoint(checkpoint).classifier, path, [], np.array([]))


@pytest.mark.parametrize("name", LIMITS)
def test_each_output_has_a_limit_of_its_own(name: str):
    kept = dict.fromkeys(LIMITS, 0.0)
    check_gaps(kept | {name: LIMITS[name]})
    for far in (LIMITS[name] * 1.01, float("nan")):
        with pytest.raises(ArtifactError, match=name):
            check_gaps(kept | {name: far})


def test_converted_files_of_the_model_before_do_not_outlive_it(tmp_path: Path):
    checkpoint, path = write_trained(tmp_path), tmp_path / "kidney.onnx"
    stale = [converted_path(path, precision) for precision in ("int8", "float16")]
    for file in stale:
        file.write_bytes(b"made from the kidney.onnx of yesterday")
    evaluation = write_evaluation(checkpoint, tmp_path / "metrics.json")
    card = build_artifact(checkpoint, evaluation, SLICES, LABELS, path)
    assert not any(file.exists() for file in stale)
    assert Predictor(path).card == card
    assert card.benchmark.milliseconds > 0
    assert card.verification.slices == len(SLICES)
