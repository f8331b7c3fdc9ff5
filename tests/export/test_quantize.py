from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from kidney.export.onnx import BACKBONE, to_onnx
from kidney.export.quantize import quantize, recipes
from tests.helpers.small_network import random_slices, small_task

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
