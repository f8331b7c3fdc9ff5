from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import timm

from kidney.artifact.predictor import Predictor
from kidney.export.onnx import BACKBONE, OPSET, quantize, recipes, to_onnx, write_onnx
from kidney.models.classifier import KidneyClassifier
from tests.helpers.small_network import random_slices, small_task
from tests.helpers.tiny_model import CARD

# One network of each kind that is not tried elsewhere; a transformer is below.
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


SLICES = list(random_slices(4, 64, 70)[:, 0].numpy())


@pytest.fixture(scope="module")
def model(file: Path) -> onnx.ModelProto:
    return onnx.load(file)


def weights(model: onnx.ModelProto) -> Counter[str]:
    """Count the elements of the weights by type."""
    count: Counter[str] = Counter()
    for value in model.graph.initializer:
        array = onnx.numpy_helper.to_array(value)
        count[str(array.dtype)] += array.size
    return count


def run(model: onnx.ModelProto, slices: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(["probabilities"], {"slices": slices})


def test_convolutions_are_tried_whole_first_and_then_with_more_and_more_in_float32(model):
    tried = list(recipes(model))
    assert all(recipe.static for recipe in tried)
    sizes = [len(recipe.kept) for recipe in tried]
    assert sizes == sorted(set(sizes))
    assert tried[0].name == "static"
    assert "first 1 convolutions" in tried[1].name


def test_the_backbone_becomes_int8_and_nothing_else(model):
    whole = quantize(model, next(recipes(model)), SLICES)
    before, after = weights(model), weights(whole)
    assert after["int8"] > 0.9 * before["float32"]
    left = {node.name: node.op_type for node in whole.graph.node}
    outside = {
        node.name: node.op_type for node in model.graph.node if not node.name.startswith(BACKBONE)
    }
    assert outside.items() <= left.items()
    read = [name for node in whole.graph.node if node.name in outside for name in node.input]
    assert not any("quantized" in name for name in read)


def test_what_a_recipe_keeps_stays_in_float32(model):
    small, large = (weights(quantize(model, list(recipes(model))[n], SLICES)) for n in (0, 3))
    assert large["float32"] > small["float32"]


def test_the_graph_that_is_given_stays_as_it_is(model):
    before = model.SerializeToString()
    quantize(model, next(recipes(model)), SLICES)
    assert model.SerializeToString() == before


def test_a_transformer_is_tried_statically_and_then_dynamically():
    classifier = small_task(backbone="test_vit", image_size=160).classifier.eval()
    model = to_onnx(classifier)
    for count, height, width in ((1, 64, 64), (3, 50, 71)):  # the float32 graph takes any
        slices = random_slices(count, height, width)
        (said,) = run(model, slices.numpy())
        np.testing.assert_allclose(said, classifier(slices).probabilities.detach(), atol=1e-5)
    static, dynamic = recipes(model)
    assert (static.static, dynamic.static) == (True, False)
    made = quantize(model, dynamic, SLICES)
    linear = Counter(node.op_type for node in made.graph.node)
    assert linear["MatMulInteger"] > 0
    assert weights(made)["int8"] > 0
    # Attention multiplies two activations: that stays.
    inside = [node.op_type for node in made.graph.node if node.name.startswith(BACKBONE)]
    assert inside.count("MatMul") > 0
