"""The module that is trained and exported: raw slices in, probabilities and their evidence out."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from kidney.models.backbones import Backbone
from kidney.models.locator import Locator
from kidney.models.ood import GREYS, OodScore, greys
from kidney.models.prepare import body_region, cut_out

_NORM_MOMENTUM = 0.05  # of the running figures: about the last 20 batches count


class Answer(NamedTuple):
    """What the graph says of N slices; the names are those of the ONNX outputs."""

    probabilities: Tensor  # (N, K), each row sums to 1
    logits: Tensor  # (N, K)
    evidence: Tensor  # (N, K, h, w): logit_k = mean of evidence_k + bias_k
    ood_score: Tensor  # (N,): how unlike the training slices it is; NaN until that is fitted
    region: Tensor  # (N, 4): top, left, bottom, right in pixels: where the evidence lies


class KidneyClassifier(nn.Module):
    """Cut-out of the body and normalisation, a backbone, a mean over kidneys, one linear layer.

    Args:
        backbone: timm's name of the network.
        weights: "hub", "none" or the path of a safetensors file.
        image_size: side in pixels to which the body is resized.
        stages: which feature maps of the backbone the head sees, timm's out_indices.
        dropout: share of the pooled features that training hides from the head.
        classes: number of classes K.
    """

    mean: Tensor
    std: Tensor
    temperature: Tensor

    def __init__(
        self,
        backbone: str,
        weights: str,
        image_size: int,
        stages: Sequence[int],
        dropout: float,
        classes: int,
    ) -> None:
        super().__init__()
        self.image_size = image_size
        self.backbone = Backbone(backbone, weights, image_size, stages)
        channels = self.backbone.channels
        # Without learned scale and shift: it only brings features of several stages to one scale.
        # In evaluation mode it is linear, so that the evidence stays an exact decomposition.
        self.norm = nn.BatchNorm1d(channels, affine=False, momentum=_NORM_MOMENTUM)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels, classes)
        self.locator = Locator(self.backbone.first_channels)
        self.ood = OodScore(self.backbone.last_channels)
        self.register_buffer("mean", torch.tensor(self.backbone.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(self.backbone.std).view(1, 3, 1, 1))
        self.register_buffer("temperature", torch.tensor(1.0))

    def described(self, images: Tensor) -> Tensor:
        """Map prepared images to all that logits and out-of-distribution score need.

        Args:
            images: float (N, 1, S, S), 0..255.

        Returns:
            (N, C + GREYS): the mean of the features over the places that the locator finds, then
            the histogram of greys.
        """
        features, weights = self._looked_at(images)
        return torch.cat([(features * weights).mean(dim=(2, 3)), greys(images)], dim=1)

    def place_maps(self, images: Tensor) -> Tensor:
        """Map prepared images to the maps (N, c, h, w) on which the locator looks for kidneys."""
        normalised = self._normalised(images)
        maps: Tensor = (self.backbone.trunk if self.backbone.has_tail else self.backbone)(
            normalised
        )
        return maps

    def _looked_at(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (N, C, h, w) and the weights of their places (N, 1, h, w), mean 1."""
        maps = self.place_maps(images)
        return self._features(maps), self.locator(maps)

    def _features(self, maps: Tensor) -> Tensor:
        return self.backbone.tail(maps) if self.backbone.has_tail else maps

    def begun(self, images: Tensor) -> Tensor:
        """Map prepared images to what the trunk makes of them, the greys laid over every place."""
        maps = self.place_maps(images)
        laid = greys(images)[:, :, None, None].expand(-1, -1, *maps.shape[2:])
        return torch.cat([maps, laid], dim=1)

    def finished(self, features: Tensor) -> Tensor:
        """Go on to what `described` gives from that itself (N, D), or from what `begun` gave."""
        if features.ndim == 2:
            return features
        maps, laid = features[:, :-GREYS], features[:, -GREYS:, 0, 0]
        weighted = self.backbone.tail(maps) * self.locator(maps)
        return torch.cat([weighted.mean(dim=(2, 3)), laid], dim=1)

    def _normalised(self, images: Tensor) -> Tensor:
        # The products of constants are folded at export: two passes over the images remain.
        return images * (1 / (255.0 * self.std)) - self.mean / self.std

    def logits(self, described: Tensor) -> Tensor:
        """Map what `described` gives, (N, C + GREYS), to logits (N, K)."""
        pooled = described[:, : self.backbone.channels]
        logits: Tensor = self.head(self.dropout(self.norm(pooled)))
        return logits

    @property
    def centre(self) -> Tensor:
        """What the norm takes from each channel of the features, (C,)."""
        assert self.norm.running_mean is not None
        return self.norm.running_mean

    @property
    def scale(self) -> Tensor:
        """What the norm then multiplies each channel by, (C,)."""
        assert self.norm.running_var is not None
        return torch.rsqrt(self.norm.running_var + self.norm.eps)

    def forward(self, slices: Tensor) -> Answer:
        """Answer for slices uint8 (N, 1, H, W) of any size; in evaluation mode.

        The mean over places and the linear layers commute, so the map of each class, that is these
        layers without the bias at each place, times the weight of the place, decomposes the logit
        exactly. It equals Grad-CAM (Selvaraju et al. 2017) at the weighted features, without a
        backward pass, up to what an average place of the training slices gives: that is zero here.
        """
        region = body_region(slices)
        images = cut_out(slices, region, self.image_size)
        features, weights = self._looked_at(images)
        slope = self.head.weight * self.scale
        evidence = nnf.conv2d(features, slope[:, :, None, None], -slope @ self.centre) * weights
        logits = evidence.mean(dim=(2, 3)) + self.head.bias
        probabilities = torch.softmax(logits / self.temperature, dim=1)
        described = torch.cat([(features * weights).mean(dim=(2, 3)), greys(images)], dim=1)
        return Answer(probabilities, logits, evidence, self.ood(described), region)
