"""float32 graph -> int8 graph: the backbone only, and of it what keeps the evidence in place.

Preprocessing and head stay in float32: they are a small part of the work, and rounding there would
break the decomposition.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (  # type: ignore[import-untyped]
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import (  # type: ignore[import-untyped]
    quant_pre_process,
)

from kidney.artifact.predictor import INPUT
from kidney.export.onnx import BACKBONE

_CONVOLUTIONAL = ("Conv", "Add", "Clip", "Relu", "MaxPool", "AveragePool", "Concat")
_LINEAR = ("MatMul", "Gemm")
# Of the convolutions, from the first on, what stays in float32. The first ones are few channels of
# large maps, and their rounding is what moves the evidence: on EfficientNet-Lite0 the first 3 of 48
# make two thirds of the error's power.
_KEPT = (0.0, 1 / 16, 1 / 8, 1 / 4, 3 / 8)


class Recipe(NamedTuple):
    """How to make a graph int8."""

    name: str
    static: bool  # ranges of activations are measured on slices once; else in each prediction anew
    operators: tuple[str, ...]  # which are replaced
    kept: frozenset[str]  # nodes of the backbone that stay in float32


def recipes(model: onnx.ModelProto) -> Iterator[Recipe]:
    """Yield recipes to make a graph of `to_onnx` int8, the fastest first.

    A transformer is tried statically, then dynamically, which is slower and closer to float32: of
    DINOv2 ViT-S/14 the evidence stayed in place on 89 % and on 92 % of the slices.
    """
    inside = [node for node in model.graph.node if node.name.startswith(BACKBONE)]
    convolutions = [node.name for node in inside if node.op_type == "Conv"]
    constants = {value.name for value in model.graph.initializer}
    linear = [n for n in inside if n.op_type in _LINEAR and not constants.isdisjoint(n.input)]
    if len(linear) > len(convolutions):
        attention = frozenset(n.name for n in inside if n.op_type in _LINEAR and n not in linear)
        yield Recipe("static", True, _LINEAR, attention)
        yield Recipe("dynamic", False, _LINEAR, attention)
        return
    names = [node.name for node in inside]
    ends = _linear_ends(model, inside)
    for count in dict.fromkeys(math.ceil(share * len(convolutions)) for share in _KEPT):
        kept = ends.union(names[: names.index(convolutions[count])] if count else ())
        first = f", the first {count} convolutions in float32" if count else ""
        yield Recipe(f"static{first}", True, _CONVOLUTIONAL, kept)


def _linear_ends(model: onnx.ModelProto, inside: Sequence[onnx.NodeProto]) -> frozenset[str]:
    """Return the nodes that make, without an activation after them, what leaves the backbone.

    Its channels are standardised afterwards: one range for all of them would be coarse for most.
    """
    made_by = {output: node for node in inside for output in node.output}
    outside = [node for node in model.graph.node if not node.name.startswith(BACKBONE)]
    left = [made_by[name] for node in outside for name in node.input if name in made_by]
    ends: set[str] = set()
    while left:
        node = left.pop()
        if node.op_type in ("Conv", "Add"):
            ends.add(node.name)
        if node.op_type == "Add":
            left += [made_by[name] for name in node.input if name in made_by]
    return frozenset(ends)


def quantize(
    model: onnx.ModelProto, recipe: Recipe, slices: Sequence[NDArray[np.uint8]]
) -> onnx.ModelProto:
    """Make the backbone of a graph int8: weights by channel, activations by tensor.

    Args:
        model: what `to_onnx` returned; it stays as it is.
        slices: (H, W) of any sizes, of the training part: what the activations are measured on.
    """
    chosen = [
        node.name
        for node in model.graph.node
        if node.name.startswith(BACKBONE)
        and node.op_type in recipe.operators
        and node.name not in recipe.kept
    ]
    with TemporaryDirectory() as temporary:
        plain, made = Path(temporary, "plain.onnx"), Path(temporary, "int8.onnx")
        # Only shapes are inferred. Other steps would rename the nodes.
        quant_pre_process(model, plain, skip_optimization=True, skip_symbolic_shape=True)
        how = {
            "op_types_to_quantize": list(recipe.operators),
            "nodes_to_quantize": chosen,
            "per_channel": True,
            "weight_type": QuantType.QInt8,
        }
        if recipe.static:
            # Unsigned activations with signed weights are what AVX-512 VNNI multiplies.
            how |= {"activation_type": QuantType.QUInt8, "quant_format": QuantFormat.QDQ}
            how |= {"extra_options": {"CalibMovingAverage": True}}
            quantize_static(plain, made, _Slices(slices), **how)
        else:
            quantize_dynamic(plain, made, **how)
        return onnx.load(made)


class _Slices(CalibrationDataReader):  # type: ignore[misc]
    """Slices one by one, as onnxruntime asks for them."""

    def __init__(self, slices: Sequence[NDArray[np.uint8]]) -> None:
        self._left = iter(slices)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        slice_ = next(self._left, None)
        return None if slice_ is None else {INPUT: np.asarray(slice_)[None, None]}
