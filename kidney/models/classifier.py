"""The module that is trained and exported: raw slices in, probabilities and their evidence out."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray
from torch import Tensor, nn

from kidney.models.backbones import Backbone
from kidney.models.locator import Locator
from kidney.models.ood import HISTOGRAM_BINS, OodScore, intensity_histogram
from kidney.models.prepare import body_region, cut_out, prepare

_NORM_MOMENTUM = 0.05  # of the running figures: about the last 20 batches count


class Prediction(NamedTuple):
    """Outputs for N slices, under the names of the ONNX outputs."""

    probabilities: Tensor  # (N, K), each row sums to 1
    logits: Tensor  # (N, K)
    evidence: Tensor  # (N, K, h, w): logit_k = mean of evidence_k + bias_k
    ood_score: Tensor  # (N,): distance from the training slices; NaN until fitted
    region: Tensor  # (N, 4): top, left, bottom, right in pixels: where the evidence lies


class KidneyClassifier(nn.Module):
    """Cut-out of the body and normalisation, a backbone, a mean over kidneys, one linear layer.

    Args:
        stages: which feature maps of the backbone the head sees, timm's out_indices.
        dropout: share of the pooled features that training hides from the head.
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

    def trunk_maps(self, images: Tensor) -> Tensor:
        """Map prepared images (N, 1, S, S) to the maps (N, c, h, w) that the locator reads.

        They are those of the trunk, or of the whole backbone where it has no tail.
        """
        trunk = self.backbone.trunk if self.backbone.has_tail else self.backbone
        maps: Tensor = trunk(self._normalised(images))
        return maps

    def forward_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (N, C, h, w) of prepared images and weights (N, 1, h, w) of mean 1."""
        maps = self.trunk_maps(images)
        features = self.backbone.tail(maps) if self.backbone.has_tail else maps
        return features, self.locator(maps)

    def embed(self, images: Tensor) -> Tensor:
        """Map prepared images to embeddings, from which logits and out-of-distribution score come.

        Returns:
            (N, C + HISTOGRAM_BINS): the weighted mean of the features, then the histogram.
        """
        return _pooled(*self.forward_features(images), intensity_histogram(images))

    def forward_trunk(self, images: Tensor) -> Tensor:
        """Map prepared images to the trunk's maps, with the histogram as constant channels."""
        maps = self.trunk_maps(images)
        constant = intensity_histogram(images)[:, :, None, None].expand(-1, -1, *maps.shape[2:])
        return torch.cat([maps, constant], dim=1)

    def forward_tail(self, features: Tensor) -> Tensor:
        """Map what `forward_trunk` gave to embeddings; embeddings (N, D) pass unchanged."""
        if features.ndim == 2:
            return features
        maps, histogram = features[:, :-HISTOGRAM_BINS], features[:, -HISTOGRAM_BINS:, 0, 0]
        return _pooled(self.backbone.tail(maps), self.locator(maps), histogram)

    def _normalised(self, images: Tensor) -> Tensor:
        # The products of constants are folded at export: two passes over the images remain.
        return images * (1 / (255.0 * self.std)) - self.mean / self.std

    def forward_head(self, embedding: Tensor) -> Tensor:
        """Map embeddings (N, C + HISTOGRAM_BINS), or pooled features (N, C), to logits (N, K)."""
        pooled = embedding[:, : self.backbone.channels]
        logits: Tensor = self.head(self.dropout(self.norm(pooled)))
        return logits

    @property
    def bias(self) -> Tensor:
        """The bias of the decomposition, (K,)."""
        return self.head.bias

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

    def forward(self, slices: Tensor) -> Prediction:
        """Predict for slices uint8 (N, 1, H, W) of any size; in evaluation mode.

        The mean over positions and the linear layers commute, so the map of each class, that is
        these layers without the bias at each position, times its weight, decomposes the logit
        exactly. It equals Grad-CAM (Selvaraju et al. 2017) at the weighted features, without a
        backward pass, up to the value at an average position of the training slices, zero here.
        """
        region = body_region(slices)
        images = cut_out(slices, region, self.image_size)
        features, weights = self.forward_features(images)
        slope = self.head.weight * self.scale
        evidence = nnf.conv2d(features, slope[:, :, None, None], -slope @ self.centre) * weights
        logits = evidence.mean(dim=(2, 3)) + self.head.bias
        probabilities = torch.softmax(logits / self.temperature, dim=1)
        embedding = _pooled(features, weights, intensity_histogram(images))
        return Prediction(probabilities, logits, evidence, self.ood(embedding), region)


def _pooled(features: Tensor, weights: Tensor, histogram: Tensor) -> Tensor:
    """Return the weighted mean of features (N, C, h, w) with the histogram behind it."""
    return torch.cat([(features * weights).mean(dim=(2, 3)), histogram], dim=1)


def explain(
    classifier: KidneyClassifier, slice_: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], list[float]]:
    """Return the evidence float32 (K, h, w) of a slice (H, W), and its region in pixels.

    The region is top, left, bottom, right: the square of the slice that the evidence covers.
    """
    device = next(classifier.parameters()).device
    with torch.inference_mode():
        found = classifier.eval()(torch.from_numpy(np.array(slice_))[None, None].to(device))
    return found.evidence[0].cpu().numpy(), found.region[0].tolist()


def grad_cam(classifier: KidneyClassifier, slices: Tensor, targets: Tensor) -> Tensor:
    """Map slices to Grad-CAM of the last features (Selvaraju et al., ICCV 2017, eq. 1 and 2).

    Each channel weighs as much as the mean of the logit's gradient over its places; only what
    speaks for the class is kept. How much the locator weighs a place is lost in that mean.

    Args:
        classifier: in evaluation mode.
        slices: uint8 (N, 1, H, W).
        targets: int64 (N,), the class that is asked for in each slice.

    Returns:
        float32 (N, h, w), 0 or more; it covers what the classifier's evidence covers.
    """
    with torch.no_grad():
        images = prepare(slices, classifier.image_size)
        features, weights = classifier.forward_features(images)
    with torch.enable_grad():
        leaf = features.clone().requires_grad_()
        logits = classifier.forward_head((leaf * weights).mean(dim=(2, 3)))
        (gradient,) = torch.autograd.grad(logits.gather(1, targets[:, None]).sum(), leaf)
    cam: Tensor = torch.einsum("nchw,nc->nhw", features, gradient.mean(dim=(2, 3))).clamp(min=0)
    return cam
