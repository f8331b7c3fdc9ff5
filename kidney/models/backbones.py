"""Any timm network as a map of features: slices in, (B, C, h, w) out."""

import functools
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError, safe_open
from timm.models._features import FeatureGetterNet
from torch import Tensor, nn

from kidney.errors import ConfigError, WeightsError
from kidney.files import sha256
from kidney.network import knock

_THREE_WAYS = (
    "Give a safetensors file with timm's keys (model.weights=PATH), train from random weights on "
    "purpose (model.weights=none model.frozen=false), or try the whole road without any download "
    "(data=phantom model=tiny)."
)


class Backbone(nn.Module):
    """A timm network cut before its pooling.

    Args:
        name: timm's name of the network.
        weights: "hub" (timm's default weights), "none" (random), or the path of a safetensors file
            with timm's keys.
        image_size: side in pixels of what it will be given; networks with a fixed position
            embedding are built for it.

    Attributes:
        channels: C of the feature map.
        mean, std: per-channel normalisation that the weights were trained with, for 0..1 input.

    Raises:
        ConfigError: timm has no such network, or it has no spatial map.
        WeightsError: the weights cannot be reached, read, or do not fit.
    """

    def __init__(self, name: str, weights: str, image_size: int) -> None:
        super().__init__()
        if not timm.is_model(name):
            similar = timm.list_models(f"*{name[:6]}*")[:8]
            raise ConfigError(
                f"Expected model.backbone to be a timm network, but got {name!r}.",
                f"Names alike: {', '.join(similar) or 'none'}. timm.list_models() has them all.",
            )
        options: dict[str, Any] = {"features_only": True, "out_indices": (-1,)}
        if _default_cfg(name).get("fixed_input_size"):
            options["img_size"] = image_size
        if _gives_tokens(name, options):
            # timm drops the final norm of a transformer's features; the tokens that its own head
            # was trained to read are the normed ones.
            options["feature_cls"] = functools.partial(FeatureGetterNet, norm=True)
        self.network = _with_weights(name, weights, options)
        self.channels = int(self.network.feature_info.channels()[-1])
        # Swin and its like hand out (B, h, w, C).
        layout = getattr(self.network, "output_fmt", None)
        self._channels_last = layout is not None and layout.value == "NHWC"
        self.mean = tuple(self.network.pretrained_cfg["mean"])
        self.std = tuple(self.network.pretrained_cfg["std"])

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images float (B, 3, S, S) to features float (B, C, h, w)."""
        features: Tensor = self.network(images)[-1]
        return features.permute(0, 3, 1, 2) if self._channels_last else features


def weights_identity(name: str, weights: str) -> str:
    """Name the weights so that two runs with the same name began with the same values.

    "none", "hub:TAG" or "file:SHA256 NAME"; the card carries it.
    """
    if weights == "none":
        return "none"
    if weights == "hub":
        cfg = _default_cfg(name)
        return f"hub:{cfg.get('hf_hub_id') or name} ({cfg.get('license') or 'licence unknown'})"
    path = _existing(weights)
    return f"file:{sha256(path)[:16]} {path.name}"


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


def _with_weights(name: str, weights: str, options: dict[str, Any]) -> Any:
    if weights == "none":
        return timm.create_model(name, **options)
    if weights == "hub":
        return _from_hub(name, options)
    path = _existing(weights)
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


def _existing(weights: str) -> Path:
    path = Path(weights).expanduser()
    if not path.is_file():
        raise WeightsError(
            f"Expected model.weights to be hub, none or a file, but {path} does not exist.",
            _THREE_WAYS,
        )
    return path


def _from_hub(name: str, options: dict[str, Any]) -> Any:
    from huggingface_hub import try_to_load_from_cache

    hub_id = _default_cfg(name).get("hf_hub_id") or ""
    if not hub_id or not isinstance(try_to_load_from_cache(hub_id, "model.safetensors"), str):
        try:
            knock("huggingface.co")
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
