"""The lesion network with its heads, as it is exported: raw slices in, findings and maps out.

The value of a lesion on a slice is a soft maximum over places, z = sum softmax(s) * s, where s is
the gated logit of its map. Class logits are linear in these values and in features averaged over
the kidneys, so each decomposes exactly over places: logit = mean(evidence) + bias.

A decomposition leaves a choice, which is made here and declared. The evidence of a lesion peaks
where its map peaks: all that comes from its own value lies on its places, counted from FLOOR, and
the rest of its logit, which has no place, lies evenly on all of them. The evidence of the class
without a lesion lies on the kidneys. And since a softmax does not change when one number is taken
from all logits, that number is chosen so that the logit of a tumour has no rest: it comes from the
map of tumours alone.

Where the finder sees no kidney, no class is right. So all of this is scaled by the presence g of a
kidney, 0 to 1: evidence becomes g * evidence - (1 - g) * bias, whose mean plus bias is g * logit.
All logits go to 0, even odds, and the slice needs review. Peaks and the decomposition stay.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray
from torch import Tensor, nn

from kidney.models.lesion_net import MAPS, LesionFeatures, LesionNet, gated
from kidney.models.ood import OodScore, intensity_histogram
from kidney.models.prepare import body_region, cut_out

LESIONS = MAPS[1:]  # order of values, findings and lesion maps
FLOOR = -16.0  # least gated logit: from it the evidence of a lesion is counted
_TUMOR = "tumor"
_LEAST_WEIGHT = 1e-3  # of a place beside the kidneys: a slice without any is looked at everywhere
# Presence of a kidney: sigmoid of the mean of the finder's best logits, of a share of places.
PRESENCE_SLOPE, PRESENCE_THRESHOLD = 2.0, 0.0
_PRESENCE_PLACES = 8 / 64**2
_LEAST_SLOPE = 0.1  # of a lesion's own value in its logit, so that the evidence never turns over


class LesionPrediction(NamedTuple):
    """Outputs for N slices, under the names of the ONNX outputs; h = w = S / 4.

    The first five are those of every model of this project.
    """

    probabilities: Tensor  # (N, K), each row sums to 1
    logits: Tensor  # (N, K)
    evidence: Tensor  # (N, K, h, w): logit_k = mean of evidence_k + bias_k
    ood_score: Tensor  # (N,): distance from the training slices; NaN until fitted
    region: Tensor  # (N, 4): top, left, bottom, right in pixels: where the maps lie
    findings: Tensor  # (N, 3): probability of each of LESIONS, whatever else there is
    kidney: Tensor  # (N, 1, h, w): probability that a place is kidney, lesions included
    lesions: Tensor  # (N, 3, h, w): gated logits of LESIONS, FLOOR and more
    presence: Tensor  # (N,): how much of a kidney the finder sees, 0..1; scales the logits


class LesionClassifier(nn.Module):
    """Cut-out of the body, the lesion network, linear heads of findings and classes.

    Args:
        backbone: timm's name of an EfficientNet-Lite.
        weights: "hub", "none" or the path of a safetensors file.
        image_size: side S in pixels to which the body is resized, a multiple of 32.
        decoder_width: channels of the decoder.
        classes: K names; those of LESIONS have a map, others have none.

    Attributes:
        bias: (K,), of the decomposition.
    """

    temperature: Tensor
    weight: Tensor  # (K, D) of the embedding without histogram
    slopes: Tensor  # (K,): share of `weight` that lies on the places of the class's own map
    own_map: Tensor  # (K, 3): 1 for the map of the class, which is LESIONS[k]
    bias: Tensor
    presence: Tensor  # (2,): slope and threshold of `kidney_presence`
    calibration: Tensor  # (3, 2): slope and offset of the logit of each finding in its value

    def __init__(
        self, backbone: str, weights: str, image_size: int, decoder_width: int,
        classes: Sequence[str],
    ) -> None:  # fmt: skip
        super().__init__()
        self.image_size, self.classes = image_size, tuple(classes)
        self.net = LesionNet(backbone, weights, decoder_width)
        *stages, last = self.net.encoder.channels
        self.ood = OodScore(last)
        count = len(classes)
        self.size = len(LESIONS) + sum(stages) + decoder_width + last
        own = [[float(name == lesion) for lesion in LESIONS] for name in classes]
        self.register_buffer("weight", torch.zeros(count, self.size))
        self.register_buffer("slopes", torch.zeros(count))
        self.register_buffer("own_map", torch.tensor(own))
        self.register_buffer("bias", torch.zeros(count))
        self.register_buffer("calibration", torch.tensor([[1.0, 0.0]] * len(LESIONS)))
        presence = torch.tensor([PRESENCE_SLOPE, PRESENCE_THRESHOLD])
        self.register_buffer("presence", presence)
        self.register_buffer("temperature", torch.tensor(1.0))

    def forward_features(self, images: Tensor) -> tuple[LesionFeatures, Tensor]:
        """Map prepared images (N, 1, S, S), 0..255, to maps and to logits (N, 4, h, w) of MAPS."""
        features = self.net.forward_features(images)
        return features, self.net.forward_head(features.decoded)

    def embed(self, images: Tensor) -> Tensor:
        """Map prepared images (N, 1, S, S), 0..255, to embeddings (N, D + HISTOGRAM_BINS).

        They are the values of LESIONS, the features averaged over the kidneys, the deepest ones
        last, and the intensity histogram.
        """
        return self.embed_maps(images, *self.forward_features(images))

    def embed_maps(self, images: Tensor, features: LesionFeatures, logits: Tensor) -> Tensor:
        """Return the embeddings of images whose maps are there already; see `embed`."""
        lesions = lesion_maps(logits).flatten(2)
        values = (torch.softmax(lesions, dim=2) * lesions).sum(dim=2)
        return torch.cat(
            [values, _pooled(features, _weights(logits)), intensity_histogram(images)], dim=1
        )

    @property
    def blocks(self) -> tuple[int, ...]:
        """Widths of the parts of an embedding without the histogram, in its order."""
        *stages, last = self.net.encoder.channels
        return len(LESIONS), *stages, self.size - len(LESIONS) - sum(stages) - last, last

    def forward_head(self, embedding: Tensor) -> Tensor:
        """Map embeddings to logits (N, K) of a slice on which a kidney is certain."""
        return embedding[:, : self.size] @ self.weight.T + self.bias - self.slopes * FLOOR

    def forward(self, slices: Tensor) -> LesionPrediction:
        """Predict for slices uint8 (N, 1, H, W) of any size; in evaluation mode."""
        region = body_region(slices)
        images = cut_out(slices, region, self.image_size)
        features, logits = self.forward_features(images)
        lesions, weights = lesion_maps(logits), _weights(logits)
        height, width = lesions.shape[2:]
        attention = torch.softmax(lesions.flatten(2), dim=2).reshape(lesions.shape)
        on_places = attention * (lesions - FLOOR) * (height * width)  # its mean is z - FLOOR
        values = _mean(on_places) + FLOOR
        embedding = torch.cat(
            [values, _pooled(features, weights), intensity_histogram(images)], dim=1
        )

        own = self.slopes[:, None] * self.own_map  # (K, 3)
        rest = embedding[:, : self.size] @ self.weight.T - values @ own.T  # (N, K), has no place
        has_map = self.own_map.sum(dim=1)[None, :, None, None]
        spread = has_map + (1 - has_map) * weights  # (N, K, h, w), mean 1
        evidence = nnf.conv2d(on_places, own[:, :, None, None]) + rest[:, :, None, None] * spread
        presence = kidney_presence(logits[:, 0], self.presence)
        gate = presence[:, None, None, None]
        evidence = gate * evidence - (1 - gate) * self.bias[:, None, None]
        answer = _mean(evidence) + self.bias
        return LesionPrediction(
            probabilities=torch.softmax(answer / self.temperature, dim=1),
            logits=answer,
            evidence=evidence,
            ood_score=self.ood(embedding),
            region=region,
            findings=self.findings(values),
            kidney=torch.sigmoid(logits[:, :1]),
            lesions=lesions,
            presence=presence,
        )

    def findings(self, values: Tensor) -> Tensor:
        """Map values (N, 3) of LESIONS to the probability of each (N, 3)."""
        return torch.sigmoid(values * self.calibration[:, 0] + self.calibration[:, 1])

    def set_head(self, weight: NDArray[np.floating], bias: NDArray[np.floating]) -> None:
        """Set the linear head of the classes.

        Args:
            weight: (K, D), of embeddings without histogram.
            bias: (K,).
        """
        weight = np.array(weight, dtype=np.float64)
        slopes = np.zeros(len(self.classes))
        columns = {name: LESIONS.index(name) for name in self.classes if name in LESIONS}
        if _TUMOR in columns:
            row, column = self.classes.index(_TUMOR), columns[_TUMOR]
            shift = weight[row].copy()
            shift[column] -= max(shift[column], _LEAST_SLOPE)
            weight -= shift
        for name, column in columns.items():
            row = self.classes.index(name)
            slopes[row] = max(weight[row, column], _LEAST_SLOPE)
        self.weight.copy_(torch.from_numpy(weight))
        self.slopes.copy_(torch.from_numpy(slopes))
        # What is counted from FLOOR has to be taken from the bias.
        self.bias.copy_(torch.from_numpy(np.asarray(bias) + slopes * FLOOR))


def lesion_maps(logits: Tensor) -> Tensor:
    """Return the gated logits (N, 3, h, w) of LESIONS, FLOOR and more, of logits (N, 4, h, w)."""
    return gated(logits).clamp(min=FLOOR)


def kidney_presence(kidney: Tensor, parameters: Tensor) -> Tensor:
    """Return how much of a kidney the finder sees (N,), 0..1.

    Args:
        kidney: logits (N, h, w) of the finder.
        parameters: (2,), slope a and threshold t of sigmoid(a * (best - t)), where best is the mean
            of the highest logits, those of 8 places in 64 x 64.
    """
    places = kidney.flatten(1)
    count = max(1, int(places.shape[1] * _PRESENCE_PLACES))
    best = places.topk(count, dim=1).values.mean(dim=1)
    return torch.sigmoid(parameters[0] * (best - parameters[1]))


def _mean(maps: Tensor) -> Tensor:
    """Return the mean of maps (N, K, h, w) over places: (N, K).

    By rows first: a runtime adds up a peak of 1e5 and thousands of small values in float32, and the
    error of one long sum showed in the logits.
    """
    return maps.mean(dim=3).mean(dim=2)


def _weights(logits: Tensor) -> Tensor:
    """Return the weight of each place (N, 1, h, w), mean 1: how likely it is kidney."""
    likely = torch.sigmoid(logits[:, :1]) + _LEAST_WEIGHT
    return likely / likely.mean(dim=(2, 3), keepdim=True)


def _pooled(features: LesionFeatures, weights: Tensor) -> Tensor:
    """Return the means of all maps over the kidneys, those of the last stage last."""
    *stages, last = features.stages
    pooled = []
    for maps in (*stages, features.decoded, last):
        ratio = weights.shape[2] // maps.shape[2]
        of_maps = nnf.avg_pool2d(weights, ratio) if ratio > 1 else weights
        pooled.append((maps * of_maps).mean(dim=(2, 3)))
    return torch.cat(pooled, dim=1)
