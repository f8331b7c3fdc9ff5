"""A training: one fit a validation fold, averaged to one calibrated model.

A head or tail is fitted several times, each time with another of the folds left out for validation,
and the mean of these fits is the model: no slice is lost to training, and every training scan has a
prediction of a fit that has not seen it, on which temperature and decisions are calibrated. A whole
network is fitted once, since each fit takes long.
"""

import copy
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas as pd
import torch

from kidney.errors import ConfigError
from kidney.files import whole_file, write_text
from kidney.models.checkpoint import Checkpoint, Lineage, load_checkpoint, save_checkpoint
from kidney.models.classifier import KidneyClassifier
from kidney.tracking.runs import (
    CHECKPOINT,
    SELECTION_METRIC,
    can_resume,
    log_result,
    tracked_run,
)
from kidney.training.calibrate import calibrate
from kidney.training.fit import fit, is_finished, is_first_process
from kidney.training.spec import TrainingSpec, tags_of


@dataclass(frozen=True)
class Trained:
    """What a training leaves behind."""

    run_id: str
    checkpoint: Path
    val_macro_auroc: float  # of the validation folds together
    # predictions of the fits for their validation slices, as in predictions.csv
    validation: pd.DataFrame


def train(spec: TrainingSpec, parent: str | None = None, copy_to: Path | None = None) -> Trained:
    """Train a model; go on where the same training was cut off.

    A run lies in runs/NAME-JOB, where JOB is a hash of everything that decides its result. While
    it has no model.ckpt it is unfinished.

    Args:
        copy_to: where to put a copy of the checkpoint.
    """
    if spec.freezes and spec.strategy.startswith("ddp"):
        raise ConfigError(
            f"Expected one process for model.trainable={spec.hparams.trainable}, but "
            f"trainer.strategy is {spec.strategy!r}: the frozen part is computed once, by one "
            "process.",
            "Use trainer=cpu or trainer=gpu, or train the whole network: model.trainable=network.",
        )
    folds, lineage = spec.validation_folds(), spec.lineage()
    # Weights that cannot be had and settings that cannot work leave no run behind.
    spec.make_task(lineage=asdict(lineage))
    folder = spec.run_folder(lineage)
    if not is_first_process():
        _fit_all(spec, folds, lineage, folder, "")
        return Trained("", folder / CHECKPOINT, float("nan"), pd.DataFrame())
    resumes = not (folder / CHECKPOINT).is_file() and can_resume(spec.tracking, folder)
    if not resumes:
        shutil.rmtree(folder, ignore_errors=True)
    tags = {
        "kind": "training",
        "fold": str(spec.fold),
        "validation_folds": " ".join(map(str, folds)),
        "data_name": spec.data,
        **tags_of(lineage),
    }
    with tracked_run(
        spec.tracking, folder, tags, name=f"fold {spec.fold}, {folder.name}", parent=parent,
        parameters=spec.parameters, resume=resumes,
    ) as run_id:  # fmt: skip
        files = _fit_all(spec, folds, lineage, folder, run_id)
        fits = [load_checkpoint(file).classifier for file in files]
        lineage = replace(lineage, run=run_id)
        model = average(fits)
        found = calibrate(spec, model, dict(zip(folds, fits, strict=True)), lineage)
        config = folder / "config.yaml"
        write_text(config, spec.config)
        write_text(folder / "validation.csv", found.predictions.to_csv(index=False))
        save_checkpoint(Checkpoint(model, spec.hparams, lineage, found.rules), folder / CHECKPOINT)
        metrics = {SELECTION_METRIC: found.macro_auroc}
        log_result(spec.tracking, run_id, metrics, [folder / CHECKPOINT, config])
    if copy_to:
        with whole_file(copy_to) as temporary:
            shutil.copyfile(folder / CHECKPOINT, temporary)
    return Trained(run_id, folder / CHECKPOINT, found.macro_auroc, found.predictions)


def _fit_all(
    spec: TrainingSpec, folds: Sequence[int], lineage: Lineage, folder: Path, run_id: str
) -> list[Path]:
    """Fit once a validation fold, where that has not been done; return the checkpoints."""
    files = []
    for fold in folds:
        at = folder / f"validation-{fold}"
        if not is_finished(at):
            own = replace(lineage, split=replace(lineage.split, validation_folds=[fold]))
            fit(spec, fold, own, at, run_id)
        files.append(at / CHECKPOINT)
    return files


def average(ensemble: Sequence[KidneyClassifier]) -> KidneyClassifier:
    """Return the classifier whose weights are the mean of an ensemble's weights.

    Where only heads were trained its logits are exactly the mean of their logits, since norm and
    head are linear in evaluation mode. Where fine-tuning began from the same weights it comes close
    to that (model soups: Wortsman et al., ICML 2022): an ensemble at the price of one network, with
    exact evidence.

    Args:
        ensemble: classifiers of one architecture whose training began with the same backbone, in
            evaluation mode.
    """
    model = copy.deepcopy(ensemble[0])
    with torch.no_grad():
        states = [fitted.state_dict() for fitted in ensemble]
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.stack([state[name] for state in states]).mean(dim=0))
        # Each fit normalises in its own way: logits = slope pooled + constant.
        slopes = [fitted.head.weight * fitted.scale for fitted in ensemble]
        constants = [
            fitted.head.bias - slope @ fitted.centre
            for fitted, slope in zip(ensemble, slopes, strict=True)
        ]
        slope, constant = torch.stack(slopes).mean(dim=0), torch.stack(constants).mean(dim=0)
        model.head.weight.copy_(slope / model.scale)
        model.head.bias.copy_(constant + slope @ model.centre)
    return model
