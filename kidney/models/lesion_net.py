"""Maps of kidneys and lesions: an encoder, a light decoder to stride 4, four logits a place.

A feature pyramid (Lin et al., CVPR 2017) of depthwise convolutions on EfficientNet-Lite. Stem and
first two stages stay as ImageNet left them, so that what they make of a slice can be kept, and the
batch norms of the encoder keep its statistics: small batches of mixed hospitals spoil them. From
random weights the whole encoder is trained.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch.nn.functional as nnf
from torch import Tensor, nn

from kidney.errors import ConfigError
from kidney.models.backbones import pretrained_network

MAPS = ("kidney", "tumor", "cyst", "stone")  # channels of the logits; kidney includes its lesions
STRIDE = 4  # pixels of the input a side of a place
TEST_BACKBONE = "test_efficientnet"  # of 80,000 parameters, for demonstrations and tests
_STAGES = (1, 2, 3, 4)  # timm's out_indices: strides 4, 8, 16 and 32
_RARE = -3.0  # bias of the head at first: most places show nothing
_DROPOUT = 0.1


class LesionFeatures(NamedTuple):
    """What logits come from: maps of the encoder at strides 4, 8, 16, 32, and of the decoder."""

    stages: list[Tensor]  # (N, c, S / stride, S / stride) each
    decoded: Tensor  # (N, width, S / 4, S / 4)


class LesionEncoder(nn.Module):
    """EfficientNet-Lite on one grey channel, in a frozen trunk and a tail.

    Args:
        backbone: timm's name, such as tf_efficientnet_lite0.
        weights: as `kidney.models.backbones.Backbone` takes them.

    Attributes:
        channels: of the four maps.
        frozen: whether the trunk is; from random weights all is trained and the trunk is empty.

    Raises:
        ConfigError: a backbone of another kind.
        WeightsError: the weights cannot be reached, read, or do not fit.
    """

    def __init__(self, backbone: str, weights: str) -> None:
        super().__init__()
        if "efficientnet_lite" not in backbone and backbone != TEST_BACKBONE:
            raise ConfigError(
                f"Expected the backbone of the lesion network to be an EfficientNet-Lite, got "
                f"{backbone!r}: its first stages are frozen, and it runs in int8.",
                f"Choose tf_efficientnet_lite0 to tf_efficientnet_lite4, or {TEST_BACKBONE}.",
            )
        options = {"features_only": True, "out_indices": _STAGES}
        network = pretrained_network(backbone, weights, options)
        self.channels = tuple(map(int, network.feature_info.channels()))
        self.frozen = weights != "none"
        # Number of blocks up to the end of each stage.
        self._ends = [
            int(name.rpartition(".")[2]) + 1 for name in network.feature_info.module_name()
        ]
        # One grey channel instead of three equal ones.
        stem = network.conv_stem
        stem.weight = nn.Parameter(stem.weight.detach().sum(dim=1, keepdim=True))
        stem.in_channels = 1
        self.stem = nn.Sequential(stem, network.bn1)
        self.blocks = network.blocks
        if self.frozen:
            self.stem.requires_grad_(False)
            self.blocks[: self._ends[1]].requires_grad_(False)

    def train(self, mode: bool = True) -> "LesionEncoder":
        """Set the mode; batch norms of a pretrained encoder stay in evaluation mode."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d) and self.frozen:
                module.eval()
        return self

    def forward_trunk(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map images (N, 1, S, S), 0..255, to the frozen maps at strides 4 and 8.

        Where nothing is frozen they are the images.
        """
        return self._two_stages(images) if self.frozen else (images,)

    def forward_tail(self, *trunk: Tensor) -> list[Tensor]:
        """Go on from what the trunk gave to the maps at strides 4, 8, 16 and 32."""
        quarter, eighth = trunk if self.frozen else self._two_stages(*trunk)
        sixteenth = self._blocks(eighth, 1, 2)
        return [quarter, eighth, sixteenth, self._blocks(sixteenth, 2, 3)]

    def _two_stages(self, images: Tensor) -> tuple[Tensor, Tensor]:
        normalised = images * (1 / 127.5) - 1.0  # mean and deviation 0.5, as the weights have it
        stem = self.stem(normalised)
        quarter = self.blocks[: self._ends[0]](stem)
        return quarter, self._blocks(quarter, 0, 1)

    def _blocks(self, maps: Tensor, after: int, until: int) -> Tensor:
        """Apply the blocks behind stage `after`, up to the end of stage `until`."""
        found: Tensor = self.blocks[self._ends[after] : self._ends[until]](maps)
        return found


class LesionDecoder(nn.Module):
    """Top-down sums of the encoder's maps, each smoothed.

    Args:
        channels: of the four maps.
        width: channels of the result.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(
            nn.Sequential(nn.Conv2d(count, width, 1, bias=False), nn.BatchNorm2d(width))
            for count in channels
        )
        self.smooth = nn.ModuleList(_separable(width) for _ in channels)
        self.last = _separable(width)

    def forward(self, stages: Sequence[Tensor]) -> Tensor:
        """Map the four maps to one (N, width, S / 4, S / 4)."""
        x: Tensor = self.smooth[3](self.lateral[3](stages[3]))
        for level in (2, 1, 0):
            side = self.lateral[level](stages[level])
            x = nnf.interpolate(x, size=side.shape[2:], mode="bilinear", align_corners=False)
            x = self.smooth[level](x + side)
        decoded: Tensor = self.last(x)
        return decoded


class LesionNet(nn.Module):
    """Encoder, decoder and head: prepared images to logits of MAPS.

    Args:
        backbone: see LesionEncoder.
        weights: see LesionEncoder.
        width: channels of the decoder.
    """

    def __init__(self, backbone: str, weights: str, width: int) -> None:
        super().__init__()
        self.encoder = LesionEncoder(backbone, weights)
        self.decoder = LesionDecoder(self.encoder.channels, width)
        self.dropout = nn.Dropout2d(_DROPOUT)
        self.head = nn.Conv2d(width, len(MAPS), 1)
        assert self.head.bias is not None
        nn.init.constant_(self.head.bias, _RARE)

    def forward_features(self, images: Tensor) -> LesionFeatures:
        """Map images (N, 1, S, S), 0..255, S a multiple of 32, to all maps."""
        return self.forward_tail(*self.encoder.forward_trunk(images))

    def forward_tail(self, *trunk: Tensor) -> LesionFeatures:
        """Map what `LesionEncoder.forward_trunk` gave to all maps."""
        stages = self.encoder.forward_tail(*trunk)
        return LesionFeatures(stages, self.decoder(stages))

    def forward_head(self, decoded: Tensor) -> Tensor:
        """Map the decoder's map to logits (N, 4, S / 4, S / 4) of MAPS."""
        logits: Tensor = self.head(self.dropout(decoded))
        return logits

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 1, S, S), 0..255, to logits (N, 4, S / 4, S / 4) of MAPS."""
        return self.forward_head(self.forward_features(images).decoded)


def gated(logits: Tensor) -> Tensor:
    """Return the logits (N, 3, h, w) of lesions, lowered where no kidney is.

    Args:
        logits: (N, 4, h, w) of MAPS.

    Returns:
        Of each lesion's logit and the log probability of the finder, eased by one, the sum: about
        the logit of both together. Far from a kidney nothing counts.
    """
    # The log of a sigmoid, which onnxruntime computes as such and loses far from a kidney.
    return logits[:, 1:] - nnf.softplus(-1.0 - logits[:, :1])


def _separable(width: int) -> nn.Sequential:
    """Depthwise 3 x 3, then 1 x 1, each with a batch norm, which the export folds away."""
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False),
        nn.BatchNorm2d(width),
        nn.Conv2d(width, width, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU6(),
    )
