"""Any timm network as a map of features: slices in, (B, C, h, w) out."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as nnf
from safetensors import SafetensorError, safe_open
from timm.models._features import FeatureGetterNet, FeatureListNet
from timm.models.efficientnet import EfficientNetFeatures
from torch import Tensor, nn

from kidney.errors import ConfigError, WeightsError
from kidney.files import sha256
from kidney.remote.http import check_reachable

_THREE_WAYS = (
    "Give a safetensors file with timm's keys (model.weights=PATH), train from random weights on "
    "purpose (model.weights=none model.trainable=network), or try the pipeline without any "
    "download (data=phantom model=tiny)."
)

_UNKNOWN = "licence unknown"  # to timm


class Backbone(nn.Module):
    """A timm network cut before its pooling, in two parts: a trunk and a tail.

    Args:
        weights: "hub" (timm's default weights), "none" (random), or the path of a safetensors file
            with timm's keys, or of a folder with one such file for this network: its name is NAME,
            or goes on after NAME with a dot or a hyphen.
        image_size: side in pixels of what it will be given; networks with a fixed position
            embedding are built for it.
        stages: which of its feature maps to give, timm's out_indices: one, or two to see texture
            and small bright spots beside shapes. The trunk ends with the first of two.

    Attributes:
        channels: C, of these maps together.
        first_channels, last_channels: of the first and of the last one.
        has_tail: whether there are two and the network is a chain, so that it has both parts.
        mean, std: per-channel normalisation that the weights were trained with, for 0..1 input.

    Raises:
        ConfigError: timm has no such network, it has no spatial map, or not these stages.
        WeightsError: the weights cannot be reached, read, or do not fit.
    """

    def __init__(self, name: str, weights: str, image_size: int, stages: Sequence[int]) -> None:
        super().__init__()
        self.name, self.stages = name, tuple(stages)
        if not timm.is_model(name):
            similar = timm.list_models(f"*{name[:6]}*")[:8]
            raise ConfigError(
                f"Expected model.backbone to be a timm network, but got {name!r}.",
                f"Names alike: {', '.join(similar) or 'none'}. timm.list_models() has them all.",
            )
        if not 1 <= len(stages) <= 2:
            raise ConfigError(
                f"Expected model.stages to be one or two feature maps, but got {list(stages)}.",
                "Name the last alone, [-1], or an earlier one with it, [-2, -1].",
            )
        options: dict[str, Any] = {"features_only": True, "out_indices": tuple(stages)}
        if _default_cfg(name).get("fixed_input_size"):
            options["img_size"] = image_size
        if _gives_tokens(name, options):
            # timm drops the final norm of a transformer's features; the tokens that its own head
            # was trained to read are the normed ones.
            options["feature_cls"] = functools.partial(FeatureGetterNet, norm=True)
        self.network = pretrained_network(name, weights, options)
        widths = list(map(int, self.network.feature_info.channels()))
        self.channels, self.first_channels, self.last_channels = sum(widths), widths[0], widths[-1]
        self.has_tail = len(stages) == 2 and steps_of(self.network) is not None
        # Swin and its like hand out (B, h, w, C).
        layout = getattr(self.network, "output_fmt", None)
        self._channels_last = layout is not None and layout.value == "NHWC"
        self.mean = tuple(self.network.pretrained_cfg["mean"])
        self.std = tuple(self.network.pretrained_cfg["std"])

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images float (B, 3, S, S) to features float (B, C, h, w).

        h and w are those of the first stage; the map of a second one is enlarged to them.
        """
        return self._together(self.network(images))

    def trunk(self, images: Tensor) -> Tensor:
        """Map normalised images to the map of the first of two stages; needs `has_tail`."""
        for module in self._parts()[0]:
            images = module(images)
        return images

    def tail(self, first: Tensor) -> Tensor:
        """Map what the trunk gave to what `forward` gives."""
        last = first
        for module in self._parts()[1]:
            last = module(last)
        return self._together([first, last])

    def tail_parameters(self) -> list[nn.Parameter]:
        """Return what can be trained behind the trunk."""
        return [value for module in self._parts()[1] for value in module.parameters()]

    def _parts(self) -> tuple[list[nn.Module], list[nn.Module]]:
        steps = steps_of(self.network)
        assert steps is not None, "asked for the parts of a network that has no tail"
        names = [name for name, _ in steps]
        first, last = (
            names.index(name) if name in names else names.index(name.replace(".", "_"))
            for name in self.network.feature_info.module_name()
        )
        modules = [module for _, module in steps]
        return modules[: first + 1], modules[first + 1 : last + 1]

    def _together(self, maps: Sequence[Tensor]) -> Tensor:
        if self._channels_last:
            maps = [features.permute(0, 3, 1, 2) for features in maps]
        grid = maps[0].shape[2:]
        return torch.cat([_on_grid(features, grid) for features in maps], dim=1)


def steps_of(network: nn.Module) -> list[tuple[str, nn.Module]] | None:
    """Return the modules that a network applies one after the other; None where it is no chain."""
    if isinstance(network, FeatureListNet):
        return list(network.items())
    if isinstance(network, EfficientNetFeatures):
        blocks = [(f"blocks.{number}", block) for number, block in enumerate(network.blocks)]
        return [("conv_stem", network.conv_stem), ("bn1", network.bn1), *blocks]
    return None


def _on_grid(features: Tensor, grid: torch.Size) -> Tensor:
    if features.shape[2:] == grid:
        return features
    return nnf.interpolate(features, size=grid, mode="bilinear", align_corners=False)


def weights_identity(name: str, weights: str) -> str:
    """Name the weights so that two runs with the same name began with the same values.

    "none", "hub:TAG (LICENCE)" or "file:SHA256 NAME", with " (LICENCE)" where the header of the
    file has metadata `license`; the card carries it.
    """
    if weights == "none":
        return "none"
    if weights == "hub":
        cfg = _default_cfg(name)
        return f"hub:{cfg.get('hf_hub_id') or name} ({cfg.get('license') or _UNKNOWN})"
    path = _existing(name, weights)
    licence = _licence_in(path)
    return f"file:{sha256(path)[:16]} {path.name}" + (f" ({licence})" if licence else "")


def weights_licence(identity: str) -> str:
    """Return the licence of what `weights_identity` named."""
    if identity == "none":
        return "none needed: training started from random weights"
    if identity.endswith(")"):
        return identity.removesuffix(")").rpartition(" (")[2]
    return "unknown: from a file; see its source"


def _licence_in(path: Path) -> str | None:
    try:
        with safe_open(path, "pt") as file:
            return (file.metadata() or {}).get("license")
    except SafetensorError:  # what loads the weights says so
        return None


def _default_cfg(name: str) -> dict[str, Any]:
    cfg = timm.get_pretrained_cfg(name)
    return dict(cfg.to_dict()) if cfg else {}  # type: ignore[no-untyped-call]


def _gives_tokens(name: str, options: dict[str, Any]) -> bool:
    """Tell whether timm reads this network's features from tokens, without spending memory."""
    with torch.device("meta"):
        try:
            return isinstance(timm.create_model(name, **options), FeatureGetterNet)
        except (RuntimeError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"{name} has no spatial feature map in timm: {error}.",
                "Choose a backbone whose features_only map timm supports, such as resnet50.",
            ) from error


def pretrained_network(name: str, weights: str, options: dict[str, Any]) -> Any:
    """Make a timm network with weights; see `Backbone` for the names and the errors."""
    if weights == "none":
        return timm.create_model(name, **options)
    if weights == "hub":
        return _from_hub(name, options)
    path = _existing(name, weights)
    if path.suffix != ".safetensors":
        raise WeightsError(
            f"Expected model.weights to be a .safetensors file, but got {path.name}.",
            "Convert the file: pickled weights can run code when they are opened.",
        )
    try:
        _check_fit(timm.create_model(name, **options), path, name)
        overlay = {"file": str(path)}
        return timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **options)
    except (RuntimeError, KeyError, OSError, ValueError) as error:
        raise WeightsError(
            f"{path} does not fit {name}: {str(error)[:300]}.",
            "Use weights that timm saved for this very network.",
        ) from error
    except SafetensorError as error:
        raise WeightsError(f"{path} is no safetensors file: {error}.", _THREE_WAYS) from error


def _check_fit(network: nn.Module, path: Path, name: str) -> None:
    """See that the file has every parameter: timm leaves what is missing at random, silently."""
    with safe_open(path, "pt") as file:
        found = {_plain(key) for key in file.keys()}  # noqa: SIM118  not a dict
    wanted = {_plain(key) for key in network.state_dict() if "num_batches" not in key}
    if missing := sorted(wanted - found):
        raise WeightsError(
            f"{path} does not fit {name}: it lacks {len(missing)} of {len(wanted)} tensors, for "
            f"example {missing[0]}.",
            "Use weights that timm saved for this very network.",
        )


def _plain(key: str) -> str:
    """Undo timm's renaming in a cut network: features.0 -> features_0, model.x -> x."""
    return key.removeprefix("model.").replace(".", "_")


def _existing(name: str, weights: str) -> Path:
    path = Path(weights).expanduser()
    if path.is_dir():
        return _in_folder(name, path)
    if not path.is_file():
        raise WeightsError(
            f"Expected model.weights to be hub, none or a file, but {path} does not exist.",
            _THREE_WAYS,
        )
    return path


def _in_folder(name: str, folder: Path) -> Path:
    """Find the file of a network in a folder that serves a sweep over several."""
    files = sorted(folder.glob("*.safetensors"))
    found = [path for path in files if path.name.startswith((f"{name}.", f"{name}-"))]
    if len(found) != 1:
        raise WeightsError(
            f"Expected one file {name}[-WHATEVER].safetensors in {folder}, but found "
            f"{[path.name for path in found] or 'none'}.",
            f"Rename a file, or name one: model.weights=PATH. There are: "
            f"{', '.join(path.name for path in files) or 'none'}.",
        )
    return found[0]


def _from_hub(name: str, options: dict[str, Any]) -> Any:
    from huggingface_hub import try_to_load_from_cache

    hub_id = _default_cfg(name).get("hf_hub_id") or ""
    if not hub_id or not isinstance(try_to_load_from_cache(hub_id, "model.safetensors"), str):
        try:
            check_reachable("huggingface.co")
        except OSError as error:
            raise WeightsError(
                f"The weights of {name} are not cached and the model hub cannot be reached "
                f"({error}).",
                _THREE_WAYS,
            ) from error
    try:
        return timm.create_model(name, pretrained=True, **options)
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"The hub's weights of {name} could not be loaded: {error}.", _THREE_WAYS
        ) from error
