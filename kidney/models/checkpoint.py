"""Checkpoint files: a classifier, its hyperparameters, where it comes from and its decision rules.

A file holds tensors and plain values only, so that it loads without pickle.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import torch

from kidney.artifact.decision import Rules
from kidney.errors import ArtifactError
from kidney.files import whole_file
from kidney.models.classifier import KidneyClassifier
from kidney.models.lesion_classifier import LesionClassifier

_PREFIX = "classifier."  # of the classifier's values in a KidneyTask


@dataclass(frozen=True)
class Hparams:
    """Hyperparameters of a classifier; `KidneyTask` describes them."""

    backbone: str
    weights: str
    image_size: int
    stages: Sequence[int]
    trainable: str
    learning_rate: float
    backbone_lr_scale: float
    weight_decay: float
    dropout: float
    classes: Sequence[str]

    def build(self) -> KidneyClassifier:
        """Return the module with random weights."""
        return KidneyClassifier(
            self.backbone, "none", self.image_size, self.stages, self.dropout, len(self.classes)
        )


@dataclass(frozen=True)
class LesionHparams:
    """Hyperparameters of a lesion model; `LesionClassifier` describes them."""

    backbone: str
    weights: str
    image_size: int
    decoder_width: int
    classes: Sequence[str]
    architecture: Literal["lesions"] = "lesions"  # tells its checkpoint from that of a classifier

    def build(self) -> LesionClassifier:
        """Return the module with random weights."""
        return LesionClassifier(
            self.backbone, "none", self.image_size, self.decoder_width, self.classes
        )


@dataclass(frozen=True)
class DataLineage:
    """The data set of a training."""

    name: str
    source: str  # the `origin` of its manifest
    fingerprint: str  # of its manifest
    slices: int
    scans: int
    window: str | None = None  # of Hounsfield units, by name or WIDTH/LEVEL; None: 8-bit pictures


@dataclass(frozen=True)
class SplitLineage:
    """The split of a training: its test fold and the folds that validated, of `folds` folds.

    The fold is -1 where a model was trained on all of them.
    """

    name: str
    fingerprint: str
    fold: int
    validation_folds: Sequence[int]
    folds: int


@dataclass(frozen=True)
class Lineage:
    """What a model comes from."""

    data: DataLineage
    split: SplitLineage
    baseline: Mapping[str, Any]  # how the training slices look; see kidney.imaging.appearance
    weights: str  # identity of the backbone's weights; see `weights_identity`
    code: str  # git commit
    run: str = ""  # id of the tracking run; "" before it is open

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Lineage":
        """Return what `asdict` made plain values of."""
        data, split = DataLineage(**values["data"]), SplitLineage(**values["split"])
        return cls(**{**values, "data": data, "split": split})


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A trained model."""

    model: KidneyClassifier | LesionClassifier  # in evaluation mode
    hparams: Hparams | LesionHparams
    lineage: Lineage  # what it comes from
    # for its decisions; None: one fit of an ensemble, which is not calibrated
    fitted_rules: Rules | None = None

    @property
    def classifier(self) -> KidneyClassifier:
        """The model of train.py.

        Raises:
            ArtifactError: it is a lesion model.
        """
        if isinstance(self.model, LesionClassifier):
            raise ArtifactError(
                "Expected the checkpoint of a classifier, but it is that of a lesion model.",
                "Evaluate it with scripts/targets.py, or its kidney.onnx with artifact=PATH.",
            )
        return self.model

    @property
    def rules(self) -> Rules:
        """The rules for its decisions.

        Raises:
            ArtifactError: the model is not calibrated.
        """
        if self.fitted_rules is None:
            raise ArtifactError(
                "Expected the checkpoint of a calibrated model, but it is that of a single fit.",
                "Give runs/NAME-JOB/model.ckpt, not the one in a folder validation-FOLD.",
            )
        return self.fitted_rules


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write a calibrated model as `load_checkpoint` reads it."""
    state = checkpoint.model.state_dict()
    hparams = asdict(checkpoint.hparams) | {
        "lineage": asdict(checkpoint.lineage),
        "rules": asdict(checkpoint.rules),
    }
    content = {
        "hyper_parameters": hparams,
        "state_dict": {_PREFIX + name: value for name, value in state.items()},
    }
    with whole_file(path) as temporary:
        torch.save(content, temporary)


def load_checkpoint(path: Path) -> Checkpoint:
    """Load a checkpoint that training wrote.

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
        values = content["hyper_parameters"]
        kind = LesionHparams if values.get("architecture") == "lesions" else Hparams
        hparams = kind(**{field.name: values[field.name] for field in fields(kind)})
        lineage = Lineage.from_dict(values["lineage"])
        rules = Rules(**values["rules"]) if "rules" in values else None
        state = {
            name.removeprefix(_PREFIX): value
            for name, value in content["state_dict"].items()
            if name.startswith(_PREFIX)
        }
        model = hparams.build()
        model.load_state_dict(state)
    except Exception as error:  # torch.load raises many types on foreign content
        raise ArtifactError(
            f"{path} is not a checkpoint that this version can read: {str(error)[:300]}.",
            "Give a model.ckpt that train.py wrote.",
        ) from error
    return Checkpoint(model.eval(), hparams, lineage, rules)
