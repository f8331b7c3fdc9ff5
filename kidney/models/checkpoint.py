"""Checkpoints back into classifiers, without the training around them."""

from pathlib import Path
from typing import Any

import torch

from kidney.errors import ArtifactError
from kidney.files import whole_file
from kidney.models.classifier import KidneyClassifier

_PREFIX = "classifier."  # of the classifier's values in a KidneyTask


def save_checkpoint(classifier: KidneyClassifier, settings: dict[str, Any], path: Path) -> None:
    """Write a classifier and plain settings as `load_checkpoint` reads them."""
    state = {_PREFIX + name: value for name, value in classifier.state_dict().items()}
    with whole_file(path) as temporary:
        torch.save({"hyper_parameters": settings, "state_dict": state}, temporary)


def load_checkpoint(path: Path) -> tuple[KidneyClassifier, dict[str, Any]]:
    """Load a checkpoint that training wrote.

    Returns:
        The classifier in evaluation mode, and the hyperparameters of its KidneyTask, among them
        `classes` and `lineage`.

    Raises:
        ArtifactError: the file is missing, is no checkpoint of this project, or does not fit.
    """
    if not path.is_file():
        raise ArtifactError(
            f"Expected a checkpoint at {path}, but there is none.", "Train one: python train.py."
        )
    try:
        # weights_only: a pickle could run code when it is opened.
        content = torch.load(path, map_location="cpu", weights_only=True)
        settings = dict(content["hyper_parameters"])
        state = {
            name.removeprefix(_PREFIX): value
            for name, value in content["state_dict"].items()
            if name.startswith(_PREFIX)
        }
        classifier = KidneyClassifier(
            settings["backbone"],
            "none",
            settings["image_size"],
            settings["stages"],
            settings["dropout"],
            len(settings["classes"]),
        )
        classifier.load_state_dict(state)
    except Exception as error:  # torch.load raises many types on foreign content
        raise ArtifactError(
            f"{path} is not a checkpoint that this version can read: {str(error)[:300]}.",
            "Give a best.ckpt that train.py wrote.",
        ) from error
    return classifier.eval(), settings
