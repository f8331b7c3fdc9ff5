"""Train from a configuration: one training, a cross-validation or a search."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import BaseDistribution, distribution_to_json

from kidney.data.split import Split
from kidney.errors import ConfigError
from kidney.files import digest
from kidney.models.checkpoint import Hparams
from kidney.pipeline.entry import (
    is_sweep,
    parent_of_sweep,
    print_figures,
    tracking_of,
    workspace_of,
)
from kidney.pipeline.evaluate import comparisons
from kidney.training.crossval import Pooled, cross_validate
from kidney.training.ensemble import train
from kidney.training.search import search
from kidney.training.spec import TrainingSpec

_MISSING = object()
_DECIDE = ("seed", "batch_size", "slices_per_scan", "augmentations")  # of the top level


def train_stage(cfg: DictConfig, slices: pd.DataFrame, split: Split) -> float:
    """Train what the configuration asks for and print what came of it."""
    check_trainer(cfg.trainer, gpus=torch.cuda.device_count())
    if is_sweep():
        refuse_distributed_sweep(cfg.trainer.strategy)
    if cfg.search:
        return search_stage(cfg, slices, split)
    if cfg.cross_validate:
        pooled = cross_validate_stage(cfg, slices, split, parent_of_sweep())
        print_figures(pooled.result, pooled.folder / "report.html")
        return pooled.val_macro_auroc
    copy_to = Path(cfg.checkpoint) if cfg.checkpoint else None
    trained = train(training_spec(cfg, slices, split), parent_of_sweep(), copy_to)
    print(f"Validation macro AUROC {trained.val_macro_auroc:.4f}: {trained.checkpoint}")
    return trained.val_macro_auroc


def cross_validate_stage(
    cfg: DictConfig,
    slices: pd.DataFrame,
    split: Split,
    parent: str | None = None,
    name: str = "",
) -> Pooled:
    """Cross-validate what the configuration describes; see `cross_validate`."""
    return cross_validate(training_spec(cfg, slices, split), parent, name, comparisons(cfg))


def search_stage(cfg: DictConfig, slices: pd.DataFrame, split: Split) -> float:
    """Search, print the best trial as overrides and return its value."""
    if not isinstance(cfg.search.trials, int) or cfg.search.trials < 1:
        raise ConfigError(
            f"Expected search.trials to be a whole number above 0, but got {cfg.search.trials}.",
            "Override it: search.trials=20.",
        )
    space = search_space(cfg)
    spec = training_spec(cfg, slices, split)

    def run_trial(params: Mapping[str, Any], parent: str, name: str) -> float:
        changed = cfg.copy()
        for key, value in params.items():
            OmegaConf.update(changed, key, value)
        return cross_validate_stage(changed, slices, split, parent, name).val_macro_auroc

    best = search(
        search_folder(spec, space),
        space,
        run_trial,
        trials=cfg.search.trials,
        seed=cfg.seed,
        storage=cfg.search.storage,
        tracking=spec.tracking,
        parent=parent_of_sweep(),
    )
    print(f"Best of the search, validation macro AUROC {best.value:.4f}, trial {best.number}:")
    print("  " + " ".join(f"{name}={value}" for name, value in best.params.items()))
    return float(best.value or 0.0)


def training_spec(cfg: DictConfig, slices: pd.DataFrame, split: Split) -> TrainingSpec:
    """Return the training that a configuration describes, on a manifest and its split."""
    make_task = instantiate(
        cfg.model, _partial_=True, classes=list(cfg.data.classes), _convert_="all"
    )
    groups: dict[str, Any] = {
        name: OmegaConf.to_container(cfg[name], resolve=True)
        for name in ("model", "trainer", "split", "decisions")
    }
    parameters = {
        f"{group}.{name}": value
        for group, values in groups.items()
        for name, value in values.items()
    }
    return TrainingSpec(
        workspace=workspace_of(cfg),
        tracking=tracking_of(cfg),
        data=str(cfg.data.name),
        window=cfg.data.read.get("window"),
        slices=slices,
        split=split,
        fold=cfg.split.fold,
        validation_fold=cfg.split.validation_fold,
        hparams=Hparams(**make_task.keywords),
        make_task=make_task,
        make_trainer=instantiate(cfg.trainer, _partial_=True, _convert_="all"),
        strategy=str(cfg.trainer.strategy),
        decisions=groups["decisions"],
        seed=cfg.seed,
        batch_size=cfg.batch_size,
        num_workers=cfg.num_workers,
        slices_per_scan=cfg.slices_per_scan,
        augmentations=cfg.augmentations,
        parameters=parameters | {name: cfg[name] for name in _DECIDE},
        config=OmegaConf.to_yaml(cfg, resolve=True),
    )


def search_space(cfg: DictConfig) -> dict[str, BaseDistribution]:
    """Return where to look for each hyperparameter, by its dotted name.

    Raises:
        ConfigError: search.space names no setting, or not where to look.
    """
    found = instantiate(cfg.search.space, _convert_="all")
    space = dict(_leaves(found)) if isinstance(found, Mapping) else {}
    wrong = [name for name, where in space.items() if not isinstance(where, BaseDistribution)]
    if wrong or not space:
        raise ConfigError(
            f"Expected search.space to give a distribution of Optuna for each setting, but "
            f"{wrong[0] if wrong else 'it'} has none.",
            "See conf/experiment/search.yaml for how a range and a choice are written.",
        )
    if unknown := [
        name for name in space if OmegaConf.select(cfg, name, default=_MISSING) is _MISSING
    ]:
        raise ConfigError(
            f"Expected search.space to name settings, but there is no {unknown[0]}.",
            "`python train.py --cfg job` prints the settings that there are.",
        )
    return space


def search_folder(spec: TrainingSpec, space: Mapping[str, BaseDistribution]) -> Path:
    """Return where a search lies: its name has a hash of all that decides which trials are made."""
    first = spec.with_fold(0)
    where = {name: distribution_to_json(space[name]) for name in sorted(space)}
    job = digest([first.job(first.lineage()), where])
    return spec.workspace.runs / f"search-{spec.hparams.backbone}-{job}"


def _leaves(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def check_trainer(trainer: DictConfig, gpus: int) -> None:
    """Check at once what Lightning would notice late, or not at all.

    Args:
        trainer: its configuration.
        gpus: how many this process sees.

    Raises:
        ConfigError: it needs a GPU and there is none, or it would leave a run of one batch that
            counts as finished.
    """
    if trainer.get("accelerator") in ("gpu", "cuda") and not gpus:
        raise ConfigError(
            f"Expected a GPU for trainer.accelerator={trainer.accelerator}, but this process sees "
            "none.",
            "Train with trainer=cpu, or check the driver and CUDA_VISIBLE_DEVICES.",
        )
    if trainer.get("fast_dev_run"):
        raise ConfigError(
            "Expected a training, but trainer.fast_dev_run runs a few batches and would count as a "
            "finished run.",
            "Use trainer=smoke, which does the same in an experiment of its own.",
        )


def refuse_distributed_sweep(strategy: str) -> None:
    """Stop a multirun whose jobs would start processes that re-enter the whole sweep.

    Raises:
        ConfigError: the strategy starts its processes by running the command again.
    """
    if strategy.startswith("ddp") and "spawn" not in strategy:
        raise ConfigError(
            f"Expected a sweep of single-process jobs, but trainer.strategy is {strategy!r}: its "
            "second process would start the whole sweep again.",
            "Add trainer.strategy=ddp_spawn, or run the jobs one by one without -m.",
        )
