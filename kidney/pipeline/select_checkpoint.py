"""Which checkpoint evaluation and export take, and why."""

from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from kidney.data.manifest import fingerprint, read_manifest
from kidney.data.split import check_folds, read_split, split_fingerprint
from kidney.pipeline.data_stages import data_folder
from kidney.tracking.runs import SELECTION_METRIC, Tracking, best_run, download_checkpoint
from kidney.training.callbacks import BEST


@dataclass(frozen=True)
class Chosen:
    """A checkpoint and the reason for it."""

    checkpoint: Path
    reason: str


def choose_checkpoint(cfg: DictConfig) -> Chosen:
    """Take `checkpoint`, else the run `run`, else the best run on this data, split and fold.

    The best is by validation macro AUROC. Test figures play no part, so that they stay honest.

    Raises:
        KidneyError: there is no such checkpoint, run, manifest or split.
    """
    if cfg.checkpoint:
        return Chosen(Path(cfg.checkpoint), "it was named (checkpoint=...)")
    tracking = Tracking(cfg.tracking.uri, cfg.tracking.experiment)
    if cfg.run:
        run_id, reason = str(cfg.run), "its run was named (run=...)"
    else:
        slices = read_manifest(data_folder(cfg))
        split = read_split(data_folder(cfg), cfg.split.name, slices)
        fold = int(cfg.split.fold)
        check_folds(split, fold, cfg.split.validation_fold)
        found = best_run(
            tracking,
            fingerprint(slices),
            split_fingerprint(split),
            fold,
            cfg.split.validation_fold,
        )
        run_id = found.info.run_id
        reason = (
            f"best validation macro AUROC ({found.data.metrics[SELECTION_METRIC]:.4f}) on this "
            f"data, split {cfg.split.name!r}, fold {cfg.split.fold}"
        )
    folder = Path(cfg.workspace) / "cache" / "checkpoints" / run_id
    if not (folder / BEST).is_file():
        download_checkpoint(tracking, run_id, folder)
    return Chosen(folder / BEST, f"run {run_id}: {reason}")
