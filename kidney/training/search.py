"""Optuna over whole cross-validations: their validation parts choose the settings."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import optuna
import pandas as pd
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.trial import FrozenTrial, TrialState

from kidney.data.split import Split
from kidney.errors import ConfigError
from kidney.files import write_text
from kidney.pipeline.lineage import runs_folder
from kidney.pipeline.sweep import parent_of_sweep
from kidney.tracking.runs import (
    SELECTION_METRIC,
    Tracking,
    closed_when_cut_off,
    end_run,
    log_result,
    reopen_run,
    start_run,
)
from kidney.training.crossval import cross_validate, job_of_folds

_RUN = "run"  # attribute of the study: its tracking run
_NONE = object()


def search(cfg: DictConfig, slices: pd.DataFrame, split: Split) -> FrozenTrial:
    """Try settings until `search.trials` cross-validations are done; return the best trial.

    A trial's value is the macro AUROC on the validation parts; test parts play no part. The
    study lies in runs/search-NAME-JOB/search.db, so a search that was killed goes on where it was,
    within the trial too, and makes the trials that it would have made. A higher `search.trials`
    adds to those that are there.

    Settings are chosen on scans that other folds then test, so the figures of the best trial's
    test parts are a little too good where a search is long and scans are few.

    Args:
        cfg: the whole configuration; search.space names the settings and where to look.
        slices: the manifest, as `prepare` returned it.
        split: the split, as `prepare` returned it.

    Returns:
        The best trial: `number`, `value` and `params`, which maps settings to values.

    Raises:
        ConfigError: the space names no setting, or not where to look; or no trial is wanted.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = _space(cfg)
    folder = runs_folder(cfg) / f"search-{cfg.model.backbone}-{_job(cfg, space, slices, split)}"
    folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name=folder.name,
        storage=f"sqlite:///{folder}/search.db",
        direction="maximize",
        load_if_exists=True,
    )
    tracking = Tracking(cfg.tracking.uri, cfg.tracking.experiment)
    run_id = _open_run(tracking, study)
    with closed_when_cut_off(tracking, run_id):
        _return_what_was_cut_off(study)
        while (done := _finished(study)) < cfg.search.trials:
            # The draws depend on the trials so far alone, so a search can be cut off anywhere.
            study.sampler = optuna.samplers.TPESampler(seed=_seed(cfg.seed, done))
            trial = study.ask(space)
            what = f"trial {trial.number}: {_spelt(trial.params)}"
            print(f"{what} ({done + 1} of {cfg.search.trials})", flush=True)
            pooled = cross_validate(_with(cfg, trial.params), slices, split, run_id, what)
            study.tell(trial, pooled.val_macro_auroc)
            print(f"  validation macro AUROC {pooled.val_macro_auroc:.4f}", flush=True)
    best = study.best_trial
    table = folder / "trials.csv"
    write_text(table, study.trials_dataframe().to_csv(index=False))
    log_result(tracking, run_id, {SELECTION_METRIC: float(best.value or 0.0)}, [table])
    end_run(tracking, run_id)
    return best


def print_best(best: FrozenTrial) -> None:
    """Print the best trial as what can be typed behind a command."""
    print(f"Best of the search, validation macro AUROC {best.value:.4f}, trial {best.number}:")
    print("  " + " ".join(f"{name}={value}" for name, value in best.params.items()))


def _space(cfg: DictConfig) -> dict[str, BaseDistribution]:
    """Return where to look for each setting, by its dotted name."""
    if not isinstance(cfg.search.trials, int) or cfg.search.trials < 1:
        raise ConfigError(
            f"Expected search.trials to be a whole number above 0, but got {cfg.search.trials}.",
            "Override it: search.trials=20.",
        )
    found = instantiate(cfg.search.space, _convert_="all")
    space = dict(_leaves(found)) if isinstance(found, Mapping) else {}
    wrong = [name for name, where in space.items() if not isinstance(where, BaseDistribution)]
    if wrong or not space:
        raise ConfigError(
            f"Expected search.space to give a distribution of Optuna for each setting, but "
            f"{wrong[0] if wrong else 'it'} has none.",
            "See conf/experiment/search.yaml for how a range and a choice are written.",
        )
    if unknown := [name for name in space if OmegaConf.select(cfg, name, default=_NONE) is _NONE]:
        raise ConfigError(
            f"Expected search.space to name settings, but there is no {unknown[0]}.",
            "`python train.py --cfg job` prints the settings that there are.",
        )
    return space


def _leaves(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _job(
    cfg: DictConfig,
    space: Mapping[str, BaseDistribution],
    slices: pd.DataFrame,
    split: Split,
) -> str:
    """Return 10 hexadecimal digits of all that decides which trials are made."""
    where = {name: distribution_to_json(space[name]) for name in sorted(space)}
    key = json.dumps([job_of_folds(cfg, slices, split), where])
    return hashlib.sha256(key.encode()).hexdigest()[:10]


def _open_run(tracking: Tracking, study: optuna.Study) -> str:
    known = study.user_attrs.get(_RUN)
    if known and reopen_run(tracking, known):
        print(f"Going on with {study.study_name}: {_finished(study)} trials are done", flush=True)
        return str(known)
    run_id = start_run(tracking, study.study_name, {"kind": "search"}, parent_of_sweep())
    study.set_user_attr(_RUN, run_id)
    return run_id


def _return_what_was_cut_off(study: optuna.Study) -> None:
    """Put a trial that nobody ended back into the queue; its finished folds are still there."""
    for trial in study.get_trials(states=[TrialState.RUNNING]):
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params)


def _finished(study: optuna.Study) -> int:
    return len(study.get_trials(states=[TrialState.COMPLETE]))


def _seed(seed: int, done: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {done}".encode()).digest()[:4])


def _with(cfg: DictConfig, settings: Mapping[str, Any]) -> DictConfig:
    changed = cfg.copy()
    for name, value in settings.items():
        OmegaConf.update(changed, name, value)
    return changed


def _spelt(settings: Mapping[str, Any]) -> str:
    """Write settings as overrides, short enough for the name of a run."""
    return " ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in settings.items()
    )
