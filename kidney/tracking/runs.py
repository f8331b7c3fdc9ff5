"""Runs in MLflow: what was trained, on which data, by which code, with what result."""

import os
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from kidney.errors import ArtifactError, ConfigError
from kidney.files import whole_folder, write_text
from kidney.remote.http import without_secrets

if TYPE_CHECKING:
    from pytorch_lightning.loggers import MLFlowLogger

# One small file is fetched at a time: a bar for each is noise.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

SELECTION_METRIC = "best_val_macro_auroc"
CHECKPOINT = "model.ckpt"
CROSS_VALIDATION = "cross-validation"  # the tag `kind` of a run that pools others
_SQLITE = "sqlite:///"
_RUN_ID = "run_id"  # file in the folder of a run
_REPOSITORY = Path(__file__).parents[2]
_Found = TypeVar("_Found")
_GONE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # unknown; deleted


class Figure(Protocol):
    """A figure of an evaluation; None where it is not defined."""

    @property
    def value(self) -> float | None:
        """The figure itself, without its interval."""


@dataclass(frozen=True)
class Tracking:
    """One experiment of one MLflow store."""

    uri: str  # `sqlite:///PATH/mlflow.db` or the address of an MLflow server
    experiment: str

    @property
    def shown(self) -> str:
        """The address without its secrets."""
        return without_secrets(self.uri)

    def client(self) -> MlflowClient:
        """Return a client of the store."""
        if not self.uri.startswith((_SQLITE, "http://", "https://", "postgresql", "mysql")):
            raise ConfigError(
                "Expected tracking.uri to be sqlite:///FILE or http(s)://HOST, got "
                f"{self.shown!r}.",
                "MLflow's file store is closed; use the default or a server's address.",
            )
        if self.uri.startswith(_SQLITE):
            if odd := sorted(set("?%#") & set(self.uri)):
                # "what?x=1" would lie in a file "what" beside it, which "what?y=2" shares.
                raise ConfigError(
                    f"Expected a tracking store whose path has none of ?, % and #, but it has "
                    f"{' and '.join(odd)}: MLflow reads them as parts of an address.",
                    "Rename the workspace, or name another store: "
                    "tracking.uri=sqlite:////PATH/mlflow.db.",
                )
            Path(self.uri.removeprefix(_SQLITE)).absolute().parent.mkdir(
                parents=True, exist_ok=True
            )
        return MlflowClient(self.uri)

    def artifact_location(self) -> str | None:
        """Return where a local store keeps files: mlartifacts beside it; None for a server."""
        if not self.uri.startswith(_SQLITE):
            return None
        store = Path(self.uri.removeprefix(_SQLITE)).absolute()
        return (store.parent / "mlartifacts").as_uri()

    def experiment_id(self) -> str:
        """Return the experiment's id; make the experiment where there is none."""
        client = self.client()
        found = client.get_experiment_by_name(self.experiment)
        if found is None:
            try:
                return client.create_experiment(self.experiment, self.artifact_location())
            except MlflowException:  # another process of the sweep was faster
                found = client.get_experiment_by_name(self.experiment)
                if found is None:
                    raise
        return str(found.experiment_id)


def start_run(
    tracking: Tracking, name: str, tags: Mapping[str, str], parent: str | None = None
) -> str:
    """Open a run and return its id."""
    linked = {"mlflow.parentRunId": parent} if parent else {}
    run = tracking.client().create_run(
        tracking.experiment_id(), run_name=name, tags={**tags, **linked}
    )
    return str(run.info.run_id)


def _of_known(tracking: Tracking, run_id: str, ask: Callable[[], _Found]) -> _Found | None:
    """Return what the store says of a run; None if it has it no longer.

    Raises:
        ArtifactError: the store does not answer; the run may well be there.
    """
    try:
        return ask()
    except MlflowException as error:
        if error.error_code in _GONE:
            return None
        raise ArtifactError(
            f"Expected {tracking.shown} to know whether run {run_id} is there, but: {error}.",
            "Run the command again when the tracking store answers; nothing is lost.",
        ) from error


def reopen_run(tracking: Tracking, run_id: str) -> bool:
    """Set a run that was cut off to running again; False if the store has it no longer.

    Raises:
        ArtifactError: the store does not answer.
    """

    def reopen() -> bool:
        tracking.client().update_run(run_id, status="RUNNING")
        return True

    return bool(_of_known(tracking, run_id, reopen))


def end_run(tracking: Tracking, run_id: str, status: str = "FINISHED") -> None:
    """Close a run as FINISHED, FAILED or KILLED."""
    tracking.client().set_terminated(run_id, status)


def run_of(folder: Path) -> str:
    """Return the id of the run that a folder belongs to; "" where it belongs to none."""
    file = folder / _RUN_ID
    return file.read_text(encoding="utf-8").strip() if file.is_file() else ""


def can_resume(tracking: Tracking, folder: Path) -> bool:
    """Open the run of a folder again; False where there is none, or the store has lost it.

    Raises:
        ArtifactError: the store does not answer.
    """
    run_id = run_of(folder)
    return bool(run_id) and reopen_run(tracking, run_id)


@contextmanager
def tracked_run(
    tracking: Tracking,
    folder: Path,
    tags: Mapping[str, str],
    *,
    name: str = "",
    parent: str | None = None,
    parameters: Mapping[str, object] | None = None,
    resume: bool = False,
) -> Iterator[str]:
    """Yield the id of an open run, and close it: FINISHED, KILLED (interrupted) or FAILED.

    Args:
        folder: of the run; a file in it keeps the run's id once its parameters are logged.
        name: of a new run; that of the folder by default.
        parent: id of the run that a new one belongs to.
        resume: go on with the run of the folder, which `can_resume` opened again.
    """
    run_id = run_of(folder) if resume else ""
    if not run_id:
        run_id = start_run(tracking, name or folder.name, tags, parent)
        log_parameters(tracking, run_id, parameters or {})
        write_text(folder / _RUN_ID, run_id)
    try:
        yield run_id
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt | SystemExit)
        end_run(tracking, run_id, "KILLED" if stopped else "FAILED")
        raise
    end_run(tracking, run_id)


def lightning_logger(tracking: Tracking, run_id: str) -> "MLFlowLogger":
    """Return Lightning's logger for an open run."""
    from pytorch_lightning.loggers import MLFlowLogger  # and torch, which a look back needs not

    return MLFlowLogger(
        experiment_name=tracking.experiment,
        tracking_uri=tracking.uri,
        run_id=run_id,
        artifact_location=tracking.artifact_location(),
    )


def log_result(
    tracking: Tracking, run_id: str, metrics: Mapping[str, float], files: Iterable[Path]
) -> None:
    """Add figures and files to a run, open or closed."""
    client = tracking.client()
    for name, value in metrics.items():
        client.log_metric(run_id, name, value)
    for file in files:
        client.log_artifact(run_id, str(file))


def log_figures(
    tracking: Tracking,
    run_id: str,
    prefix: str,
    figures: Mapping[str, Figure],
    files: Iterable[Path],
) -> None:
    """Add the figures of an evaluation that have a value, named PREFIX_NAME, and files to a run."""
    values = {
        f"{prefix}_{name}": figure.value
        for name, figure in figures.items()
        if figure.value is not None
    }
    log_result(tracking, run_id, values, files)


def log_parameters(tracking: Tracking, run_id: str, parameters: Mapping[str, object]) -> None:
    """Add parameters to a run; those that are there already stay as they are."""
    client = tracking.client()
    known = client.get_run(run_id).data.params
    for name, value in parameters.items():
        if name not in known:
            client.log_param(run_id, name, str(value)[:500])


def best_run(
    tracking: Tracking, data: str, split: str, fold: int, validation_fold: int | None
) -> Run:
    """Find the finished run with the best validation macro AUROC. Test figures play no part.

    Args:
        validation_fold: the validation fold; None: whichever validated.

    Raises:
        ArtifactError: there is none for this data and split.
    """
    validated = (
        "" if validation_fold is None else f"and tags.validation_folds = '{validation_fold}' "
    )
    found = tracking.client().search_runs(
        [tracking.experiment_id()],
        f"attributes.status = 'FINISHED' and tags.data = '{data}' and tags.split = '{split}' "
        f"and tags.fold = '{fold}' {validated}and metrics.{SELECTION_METRIC} >= 0",
        order_by=[f"metrics.{SELECTION_METRIC} DESC", "attributes.start_time DESC"],
        max_results=1,
    )
    if not found:
        raise ArtifactError(
            f"Expected a finished training run on data {data} with split {split}, fold {fold}"
            + ("" if validation_fold is None else f", validation fold {validation_fold}")
            + ", in "
            f"experiment {tracking.experiment!r} of {tracking.shown}, but found none.",
            "Train first (python train.py with the same data=... split=...), or name a "
            "checkpoint: checkpoint=PATH.",
        )
    return found[0]


def download_checkpoint(tracking: Tracking, run_id: str, folder: Path) -> Path:
    """Fetch a run's checkpoint into `folder`.

    Raises:
        ArtifactError: the run or its checkpoint does not exist.
    """
    try:
        with whole_folder(folder) as temporary:
            tracking.client().download_artifacts(run_id, CHECKPOINT, str(temporary))
        return folder / CHECKPOINT
    except (MlflowException, OSError) as error:
        raise ArtifactError(
            f"Run {run_id} has no {CHECKPOINT} in {tracking.shown}: {error}.",
            "Give the id of a finished run, or checkpoint=PATH.",
        ) from error


def cross_validation_of(tracking: Tracking, run_id: str) -> str | None:
    """Return the finished cross-validation that a run is a fold of; None if it is of none.

    A run that the store does not know, since it was made elsewhere, is of none either.
    """
    run = _run(tracking, run_id)
    parent = run and run.data.tags.get("mlflow.parentRunId")
    pooled = _run(tracking, parent) if parent else None
    if not pooled or pooled.info.status != "FINISHED":
        return None
    return str(parent) if pooled.data.tags.get("kind") == CROSS_VALIDATION else None


def unlike_settings(tracking: Tracking, run_id: str, other: str) -> list[str]:
    """Name the settings of the model that two runs both state, and differently.

    Raises:
        ArtifactError: the store does not know one of them, or they share no setting.
    """
    one, two = _run(tracking, run_id), _run(tracking, other)
    if one is None or two is None:
        raise ArtifactError(
            f"Expected the runs {run_id} and {other} in {tracking.shown}, but found no "
            f"{other if one else run_id}.",
            "Compare models whose runs are in one tracking store: tracking.uri=...",
        )
    settings, others = one.data.params, two.data.params
    shared = sorted(name for name in settings if name.startswith("model.") and name in others)
    if not shared:
        raise ArtifactError(
            f"Expected the runs {run_id} and {other} to state the settings of their models, but "
            "they have none in common.",
            "Train both with this version.",
        )
    return [name for name in shared if settings[name] != others[name]]


def _run(tracking: Tracking, run_id: str) -> Run | None:
    return _of_known(tracking, run_id, lambda: tracking.client().get_run(run_id))


def download_files(tracking: Tracking, run_id: str, names: Iterable[str], folder: Path) -> None:
    """Fetch those of the named files that a run has into `folder`; none of an unknown run."""
    if _run(tracking, run_id) is None:
        return
    client = tracking.client()
    there = {file.path for file in client.list_artifacts(run_id)}
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        if name in there:
            client.download_artifacts(run_id, name, str(folder))


def code_version() -> str:
    """Return the git commit, "-dirty" added for uncommitted changes; "unknown" without git.

    Installed into an environment that lies inside another checkout it is unknown too.
    """
    try:
        if Path(_git("rev-parse", "--show-toplevel")).resolve() != _REPOSITORY.resolve():
            return "unknown"
        commit = _git("rev-parse", "HEAD")
        return f"{commit}-dirty" if _git("status", "--porcelain", "-uno") else commit
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(_REPOSITORY), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
