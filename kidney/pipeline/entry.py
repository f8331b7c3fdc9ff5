"""What all Hydra commands share: conf/, errors as messages, paths, the parent run of a sweep."""

import atexit
import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException, InstantiationException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from kidney.errors import ConfigError, KidneyError
from kidney.evaluation.result import EvaluationResult, Localisation
from kidney.reporting.labels import with_interval
from kidney.workspace import Workspace

if TYPE_CHECKING:
    from kidney.tracking.runs import Tracking

_CONF = str(Path(__file__).parents[2] / "conf")
# The environment reaches the jobs of a sweep: joblib and Slurm hand it on.
PARENT_RUN = "KIDNEY_PARENT_RUN"


def entry_point(main: Callable[[DictConfig], Any]) -> Callable[[], None]:
    """Make `main(cfg)` a command that composes conf/config.yaml with the command line."""
    return composing("config")(main)


def composing(
    config: str,
) -> Callable[[Callable[[DictConfig], Any]], Callable[[], None]]:
    """Return what makes `main(cfg)` a command that composes conf/NAME.yaml."""
    return functools.partial(_command, config)


def _command(config: str, main: Callable[[DictConfig], Any]) -> Callable[[], None]:

    @functools.wraps(main)
    def run(cfg: DictConfig) -> Any:
        try:
            _change_to_start_folder()
            return main(cfg)
        # Hydra prints this type without a traceback and goes on with the sweep's other jobs.
        except KidneyError as error:
            raise CompactHydraException(str(error)) from None
        except InstantiationException as error:
            if isinstance(error.__cause__, KidneyError):
                raise CompactHydraException(str(error.__cause__)) from None
            raise

    decorated = hydra.main(version_base="1.3", config_path=_CONF, config_name=config)(run)

    def command() -> None:
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        decorated()

    return command


def print_figures(result: EvaluationResult, report: Path) -> None:
    """Print the figures of an evaluation with their intervals."""
    split = result.split
    print(
        f"Split {split.name!r}, fold {split.fold}, part {split.part}: "
        f"{result.slices:,} slices of {result.scans} scans"
    )
    width = max(map(len, result.figures))
    for name, figure in result.figures.items():
        if figure.value is not None:
            print(f"  {name:{width}}  {with_interval(figure)}")
    print(f"Report: {report}")


def print_localisation(result: Localisation, report: Path) -> None:
    """Print how well each map finds the drawn lesions, with intervals."""
    print(f"{result.slices:,} slices of {result.patients} patients of {result.data.name}")
    for kind, figures in result.maps.items():
        print(f"  {kind}")
        for name, figure in figures.items():
            if figure.value is not None:
                print(f"    {name:20}  {with_interval(figure)}")
    print(f"Report: {report}")


def workspace_of(cfg: DictConfig) -> Workspace:
    """Return the folders that the commands write."""
    return Workspace(Path(cfg.workspace), Path(cfg.artifacts))


def tracking_of(cfg: DictConfig) -> "Tracking":
    """Return the MLflow store and experiment."""
    from kidney.tracking.runs import Tracking  # MLflow takes a second, which others need not wait

    return Tracking(cfg.tracking.uri, cfg.tracking.experiment)


def _change_to_start_folder() -> None:
    """Run each job of a sweep in the folder where the sweep was started, on any machine."""
    folder = HydraConfig.get().runtime.cwd
    try:
        os.chdir(folder)
    except OSError as error:
        raise ConfigError(
            f"Expected the folder {folder}, where the sweep was started, on this machine too, but: "
            f"{error.strerror}.",
            "Keep repository and workspace on a disk that all machines share, under one path.",
        ) from error


def is_sweep() -> bool:
    """Tell whether this job is one of a multirun."""
    return HydraConfig.get().mode == RunMode.MULTIRUN


def parent_of_sweep() -> str | None:
    """Return the parent run's id inside a multirun."""
    return os.environ.get(PARENT_RUN) or None


class SweepParent(Callback):
    """Hydra callback: opens the parent run before the first job and closes it after the last."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Open the parent in the store of the sweep's own configuration."""
        # Hydra makes this callback for every command; only sweeps should wait for MLflow to load.
        from kidney.tracking.runs import start_run

        self._tracking = tracking_of(config)
        name = " ".join(config.hydra.overrides.task) or "sweep"
        os.environ[PARENT_RUN] = start_run(self._tracking, name, {"kind": "sweep"})
        # Where a job failed, Hydra exits without telling its callbacks.
        atexit.register(self._end, "FAILED")

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:  # noqa: ARG002
        """Close the parent: every job was done."""
        atexit.unregister(self._end)
        self._end("FINISHED")

    def _end(self, status: str) -> None:
        from kidney.tracking.runs import end_run

        end_run(self._tracking, os.environ.pop(PARENT_RUN), status)
