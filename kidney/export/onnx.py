"""Classifier -> one self-contained ONNX file with its card, and that graph in int8.

Only the backbone becomes int8, and of it what keeps the evidence in place. Preprocessing and head
stay in float32: they are a small part of the work, and rounding there would break the
decomposition.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import onnx
import torch
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
from torch import nn
from torch.export import Dim

from kidney.artifact.card import ModelCard, to_metadata
from kidney.artifact.integrity import seal
from kidney.artifact.predictor import INPUT
from kidney.models.classifier import KidneyClassifier
from kidney.models.lesion_classifier import LesionClassifier

OPSET = 18  # the first with antialiased Resize; onnxruntime 1.20 reads it
BACKBONE = "backbone/"  # begins the names of the nodes that another precision may replace

# In the metadata of a node, as the exporter writes it.
_SCOPES = ("classifier.backbone", "classifier.net")
_CONVOLUTIONAL = ("Conv", "Add", "Clip", "Relu", "MaxPool", "AveragePool", "Concat")
_LINEAR = ("MatMul", "Gemm")
# Of the convolutions, from the first on, what stays in float32. The first ones are few channels of
# large maps, and their rounding is what moves the evidence: on EfficientNet-Lite0 the first 3 of 48
# make two thirds of the error's power.
_KEPT = (0.0, 1 / 16, 1 / 8, 1 / 4, 3 / 8)


def to_onnx(classifier: KidneyClassifier | LesionClassifier) -> onnx.ModelProto:
    """Return the graph with its weights, without a card.

    Input `slices` uint8 (N, 1, H, W) with N, H and W free; outputs `probabilities` (N, K),
    `logits` (N, K), `evidence` (N, K, h, w), `ood_score` (N,) and `region` (N, 4), and whatever
    else the module gives, all float32.
    """
    # The example differs from 0, 1 and the model's own size in every free dimension: the exporter
    # bakes in what looks constant.
    example = torch.zeros((2, 1, 200, 240), dtype=torch.uint8)
    free = {"slices": {0: Dim("n", min=1), 2: Dim("height", min=32), 3: Dim("width", min=32)}}
    classifier = classifier.eval().cpu()
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _Plain(classifier),
            (example,),
            input_names=[INPUT],
            output_names=list(classifier(example)._fields),
            dynamic_shapes=free,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _name_nodes(model.graph)
    return model


def write_onnx(model: onnx.ModelProto, card: ModelCard, path: Path) -> None:
    """Write a graph with its card to `path` and seal it.

    Args:
        model: what `to_onnx` returned or what was made from it; an older card in it is replaced.
    """
    del model.metadata_props[:]
    for key, value in to_metadata(card).items():
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model)
    onnx.save_model(model, str(path), save_as_external_data=False)
    seal(path)


def _name_nodes(graph: onnx.GraphProto) -> None:
    """Mark the nodes of the backbone by their names, and drop other metadata of the exporter.

    It holds stack traces: paths of the exporting machine.
    """
    for number, node in enumerate(graph.node):
        inside = any(scope in entry.value for entry in node.metadata_props for scope in _SCOPES)
        node.name = f"{BACKBONE if inside else ''}{node.op_type}_{number}"
    for part in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""


class _Plain(nn.Module):
    """The classifier with a plain tuple as output, which the exporter names in order."""

    def __init__(self, classifier: KidneyClassifier | LesionClassifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, slices: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self.classifier(slices))


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
