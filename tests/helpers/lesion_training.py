"""A lesion model in seconds: small sources, a network without weights, a few steps."""

from pathlib import Path

import timm
from safetensors.torch import save_file

from kidney.training.lesion_run import LesionSpec
from kidney.training.lesions import LesionSettings
from tests.helpers.lesion_sources import class_source, masked_source, write_classes, write_masked

CLASSES = ("normal", "cyst", "tumor", "stone")


def some_weights(folder: Path) -> str:
    """Write random weights of EfficientNet-Lite0, which count as pretrained; return the file."""
    path = folder / "tf_efficientnet_lite0.safetensors"
    save_file(timm.create_model("tf_efficientnet_lite0").state_dict(), path)
    return str(path)


def small_spec(folder: Path, **changes: object) -> LesionSpec:
    """Write the sources below `folder` and describe a training on them."""
    if not (folder / "kits").exists():
        write_masked(folder / "kits")
        write_classes(folder / "public")
    values: dict[str, object] = {
        "folder": folder,
        "sources": [masked_source(), class_source()],
        "cache": folder / "cache",
        "run": folder / "run",
        "backbone": "tf_efficientnet_lite0",
        "weights": "none",
        "weights_identity": "none",
        "image_size": 64,
        "decoder_width": 8,
        "classes": CLASSES,
        "slices": 128,
        "folds": 2,
        "processes": 1,
        "training": LesionSettings(steps=4, batch_size=8),
    }
    return LesionSpec(**(values | changes))  # type: ignore[arg-type]
