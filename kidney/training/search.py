"""Optuna over whole cross-validations: their validation parts choose the hyperparameters.

Our own loop instead of `study.optimize`: a trial that was killed is done again with its finished
folds, and the draws depend on the trials so far alone, so that a search can be cut off anywhere.
"""

import hashlib
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, Trial, TrialState

from kidney.errors import ConfigError
from kidney.files import is_alive, write_text
from kidney.tracking.runs import (
    SELECTION_METRIC,
    Tracking,
    can_resume,
    log_result,
    tracked_run,
)

Space = Mapping[str, BaseDistribution]  # hyperparameter by dotted name -> where to look

# hyperparameters, parent run, name of the run -> validation macro AUROC
RunTrial = Callable[[Mapping[str, Any], str, str], float]

_WORKER = "worker"  # attribute of a trial: the host and the process that run it
_COUNTED = (TrialState.COMPLETE, TrialState.RUNNING)


def search(
    folder: Path,
    space: Space,
    run_trial: RunTrial,
    *,
    trials: int,
    seed: int,
    storage: str | None,
    tracking: Tracking,
    parent: str | None = None,
) -> FrozenTrial:
    """Try hyperparameters until `trials` cross-validations are done; return the best trial.

    A trial's value is the macro AUROC on the validation parts; test parts play no part. A search
    that was killed goes on where it was, within the trial too, and makes the trials that it would
    have made. A higher `trials` adds to those that are there.

    Several processes, also of several machines, share the trials of one storage; each returns when
    no trial is left to start, with the best of those that are done by then.

    Hyperparameters are chosen on scans that other folds then test, so the figures of the best
    trial's test parts are a little too good where a search is long and scans are few.

    Args:
        run_trial: a cross-validation with other hyperparameters.
        storage: URL of the database that several processes share, as SQLAlchemy takes it; None:
            search.db in the folder, for one process.

    Returns:
        The best trial: `number`, `value` and `params`, which maps hyperparameters to values.

    Raises:
        ConfigError: the storage cannot be reached, or no trial is done and none left to start.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    study = _open_study(folder, storage)
    if resumes := can_resume(tracking, folder):
        print(f"Going on with {folder.name}: {_finished(study)} trials are done", flush=True)
    with tracked_run(tracking, folder, {"kind": "search"}, parent=parent, resume=resumes) as run_id:
        _requeue_killed(study, shared=storage is not None)
        while trial := _next_trial(study, space, trials, seed):
            name = f"trial {trial.number}: {_as_overrides(trial.params)}"
            print(f"{name} ({_position(study, trial.number) + 1} of {trials})", flush=True)
            value = run_trial(trial.params, run_id, name)
            study.tell(trial, value)
            print(f"  validation macro AUROC {value:.4f}", flush=True)
        if not _finished(study):
            raise ConfigError(
                f"Expected a finished trial of {folder.name}, but other processes run all of them.",
                "Wait for these, or raise search.trials.",
            )
        best = study.best_trial
        table = folder / "trials.csv"
        write_text(table, study.trials_dataframe().to_csv(index=False))
        log_result(tracking, run_id, {SELECTION_METRIC: float(best.value or 0.0)}, [table])
    return best


def _open_study(folder: Path, storage: str | None, tries: int = 3) -> optuna.Study:
    try:
        return optuna.create_study(
            study_name=folder.name,
            storage=storage or f"sqlite:///{folder}/search.db",
            direction="maximize",
            load_if_exists=True,
        )
    except Exception as error:  # SQLAlchemy's, Optuna's and the driver's own, and a missing driver
        if tries > 1:  # processes that start together make the tables of a new database together
            return _open_study(folder, storage, tries - 1)
        raise ConfigError(
            f"Expected search.storage to be a database that answers, but: {str(error)[:300]}.",
            "Give a URL such as postgresql+psycopg://USER:PASSWORD@HOST/DATABASE, and install its "
            "driver: pip install 'psycopg[binary]'.",
        ) from error


def _next_trial(study: optuna.Study, space: Space, trials: int, seed: int) -> Trial | None:
    """Ask for the next trial; None where enough are done or running."""
    if len(study.get_trials(deepcopy=False, states=_COUNTED)) >= trials:
        return None
    trial = study.ask()
    position = _position(study, trial.number)
    if position >= trials:  # another process was faster
        study.tell(trial, state=TrialState.FAIL)
        return None
    trial.set_user_attr(_WORKER, _this_process())
    # Different for each position, and the same whenever the trial of a position is drawn.
    study.sampler = optuna.samplers.TPESampler(seed=_seed(seed, position))
    for name, where in space.items():
        _suggest(trial, name, where)
    return trial


def _position(study: optuna.Study, number: int) -> int:
    """Return how many trials before this one count, that is: did not fail."""
    known = study.get_trials(deepcopy=False, states=_COUNTED)
    return sum(trial.number < number for trial in known)


def _suggest(trial: Trial, name: str, where: BaseDistribution) -> None:
    if isinstance(where, FloatDistribution):
        trial.suggest_float(name, where.low, where.high, step=where.step, log=where.log)
    elif isinstance(where, IntDistribution):
        trial.suggest_int(name, where.low, where.high, step=where.step, log=where.log)
    else:
        assert isinstance(where, optuna.distributions.CategoricalDistribution)
        trial.suggest_categorical(name, where.choices)


def _requeue_killed(study: optuna.Study, shared: bool) -> None:
    """Put trials that nobody works on back into the queue; their finished folds are still there.

    In a storage that several processes share these are the trials of processes that ran on this
    machine and are no more; whose machine is gone is done again when its command is started there.
    """
    host = socket.gethostname()
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        worker, _, process = str(trial.user_attrs.get(_WORKER, "")).rpartition(" ")
        if shared and (worker != host or is_alive(int(process))):
            continue
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params)


def _this_process() -> str:
    return f"{socket.gethostname()} {os.getpid()}"


def _finished(study: optuna.Study) -> int:
    return len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))


def _seed(seed: int, position: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {position}".encode()).digest()[:4])


def _as_overrides(params: Mapping[str, Any]) -> str:
    """Write hyperparameters as overrides, short enough for the name of a run."""
    return " ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in params.items()
    )
