"""Classifier -> one self-contained ONNX file with its card."""

import warnings
from pathlib import Path

import onnx
import torch
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
