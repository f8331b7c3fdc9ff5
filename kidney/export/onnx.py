"""Classifier -> one self-contained ONNX file with its card."""

import warnings
from pathlib import Path

import onnx
import torch
from torch import nn
from torch.export import Dim

from kidney.card import ModelCard, to_metadata
from kidney.models.classifier import KidneyClassifier
from kidney.predictor import INPUT, OPTIONAL_OUTPUTS, OUTPUTS
from kidney.seal import seal

OPSET = 18  # the first with antialiased Resize; onnxruntime 1.20 reads it


def write_onnx(classifier: KidneyClassifier, card: ModelCard, path: Path) -> None:
    """Write the graph with its weights and card to `path`, sealed.

    Input `slices` uint8 (N, 1, H, W) with N, H and W free; outputs `probabilities` (N, K),
    `logits` (N, K), `evidence` (N, K, h, w), `ood_score` (N,) and `region` (N, 4), all float32.
    """
    # The example differs from 0, 1 and the model's own size in every free dimension: the exporter
    # bakes in what looks constant.
    example = torch.zeros((2, 1, 200, 240), dtype=torch.uint8)
    free = {"slices": {0: Dim("n", min=1), 2: Dim("height", min=32), 3: Dim("width", min=32)}}
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _Plain(classifier.eval().cpu()),
            (example,),
            input_names=[INPUT],
            output_names=[*OUTPUTS, *OPTIONAL_OUTPUTS],
            dynamic_shapes=free,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    for key, value in to_metadata(card).items():
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model)
    onnx.save_model(model, str(path), save_as_external_data=False)
    seal(path)


class _Plain(nn.Module):
    """The classifier with a plain tuple for an answer, which the exporter names in order."""

    def __init__(self, classifier: KidneyClassifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, slices: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self.classifier(slices))
