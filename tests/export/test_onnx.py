from pathlib import Path

import numpy as np
import onnx
import pytest
import timm

from kidney.artifact.predictor import Predictor
from kidney.export.onnx import BACKBONE, OPSET, to_onnx, write_onnx
from kidney.models.classifier import KidneyClassifier
from tests.helpers.small_network import random_slices, small_task
from tests.helpers.tiny_model import CARD

# One network of each kind that is not tried elsewhere; a transformer is in test_quantize.py.
# Side in pixels and stage; that of the first has its first three inception blocks.
KINDS = {"inception_v3": (96, 2), "test_efficientnet": (64, -1)}


def nodes(file: Path) -> list[onnx.NodeProto]:
    return list(onnx.load(file).graph.node)


def test_the_file_is_for_every_onnxruntime_since_1_20(file: Path):
    model = onnx.load(file)
    assert {entry.domain: entry.version for entry in model.opset_import} == {"": OPSET}
    assert model.ir_version <= 10  # what onnxruntime 1.20 reads


def test_the_file_tells_nothing_of_the_machine_that_wrote_it(file: Path):
    for text in (str(Path(__file__).parents[2]), "site-packages", "kidney/models", ".py"):
        assert text.encode() not in file.read_bytes()


def test_nodes_say_whether_they_are_of_the_backbone(file: Path):
    inside = [node.op_type for node in nodes(file) if node.name.startswith(BACKBONE)]
    outside = [node.op_type for node in nodes(file) if not node.name.startswith(BACKBONE)]
    assert inside.count("Conv") == 14
    assert set(inside) <= {"Conv", "Relu", "Add", "MaxPool", "AveragePool", "Identity"}
    assert {"Resize", "Softmax", "MatMul"} <= set(outside)
    assert outside.count("Conv") == 2  # locator and evidence
    names = [node.name for node in nodes(file)]
    assert len(set(names)) == len(names)


@pytest.mark.slow
def test_another_runtime_says_the_same(file: Path):
    import openvino  # of the extra `slow`

    slices = random_slices(3, 70, 90).numpy()
    core = openvino.Core()
    other = core.compile_model(str(file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    said = other(slices)
    answers = Predictor(file).predict(list(slices[:, 0]))
    for name in ("probabilities", "logits", "evidence", "region"):
        ours = np.stack([np.asarray(getattr(answer, name)) for answer in answers])
        np.testing.assert_allclose(said[name], ours, rtol=1e-4, atol=1e-3, err_msg=name)


@pytest.mark.parametrize("backbone", KINDS)
def test_each_kind_of_network_takes_any_size_and_batch(backbone: str, tmp_path: Path):
    assert timm.is_model(backbone)
    side, stage = KINDS[backbone]
    task = small_task(backbone=backbone, image_size=side, stages=[stage])
    classifier: KidneyClassifier = task.classifier.eval()
    path = tmp_path / "kidney.onnx"
    write_onnx(to_onnx(classifier), CARD, path)
    for count, height, width in ((1, 64, 64), (3, 50, 71)):
        slices = random_slices(count, height, width)
        ours = classifier(slices).probabilities.detach().numpy()
        answers = Predictor(path).predict(list(slices[:, 0].numpy()))
        np.testing.assert_allclose([a.probabilities for a in answers], ours, atol=1e-5)
