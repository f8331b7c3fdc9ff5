"""The module that is trained and exported: raw slices in, probabilities and their evidence out."""

from typing import NamedTuple

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from kidney.models.backbones import Backbone


class Answer(NamedTuple):
    """What the graph says of N slices; the names are those of the ONNX outputs."""

    probabilities: Tensor  # (N, K), each row sums to 1
    logits: Tensor  # (N, K)
    evidence: Tensor  # (N, K, h, w): logit_k = mean of evidence_k + bias_k


def resize(slices: Tensor, size: int) -> Tensor:
    """Bring slices (N, 1, H, W), 0..255, to float32 (N, 1, size, size); identity at that size.

    Antialiased bilinear: without the filter a stone of a few pixels can vanish in a 512 to 224
    reduction.
    """
    return nnf.interpolate(
        slices.float(), size=(size, size), mode="bilinear", align_corners=False, antialias=True
    )


class KidneyClassifier(nn.Module):
    """Scaling, resize and normalisation, then a backbone, then mean and one linear layer.

    Args:
        backbone: timm's name of the network.
        weights: "hub", "none" or the path of a safetensors file.
        image_size: side in pixels to which slices are resized.
        classes: number of classes K.
    """

    mean: Tensor
    std: Tensor
    temperature: Tensor

    def __init__(self, backbone: str, weights: str, image_size: int, classes: int) -> None:
        super().__init__()
        self.image_size = image_size
        self.backbone = Backbone(backbone, weights, image_size)
        self.head = nn.Linear(self.backbone.channels, classes)
        self.register_buffer("mean", torch.tensor(self.backbone.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(self.backbone.std).view(1, 3, 1, 1))
        self.register_buffer("temperature", torch.tensor(1.0))

    def features(self, slices: Tensor) -> Tensor:
        """Map slices uint8 or float (N, 1, H, W), 0..255, to features (N, C, h, w)."""
        images = resize(slices, self.image_size) / 255.0
        features: Tensor = self.backbone((images.expand(-1, 3, -1, -1) - self.mean) / self.std)
        return features

    def pooled(self, slices: Tensor) -> Tensor:
        """Map slices to the mean of their features (N, C): all that the logits depend on."""
        return self.features(slices).mean(dim=(2, 3))

    def forward(self, slices: Tensor) -> Answer:
        """Answer for slices uint8 (N, 1, H, W) of any size.

        The mean over places and the linear layer commute, so the map of each class, that is the
        linear layer without its bias at each place, decomposes the logit exactly. It equals
        Grad-CAM (Selvaraju et al. 2017) up to a constant for this head, without a backward pass.
        """
        features = self.features(slices)
        evidence = torch.einsum("nchw,kc->nkhw", features, self.head.weight)
        logits = evidence.mean(dim=(2, 3)) + self.head.bias
        return Answer(torch.softmax(logits / self.temperature, dim=1), logits, evidence)
