"""One MLflow parent for all runs of a Hydra multirun."""

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from kidney.files import locked

# The environment reaches the jobs: joblib and Slurm hand it on, Ray as conf/launcher/ray.yaml says.
PARENT_RUN = "KIDNEY_PARENT_RUN"


def parent_of_sweep() -> str | None:
    """Return the parent run's id inside a multirun."""
    return os.environ.get(PARENT_RUN) or None


@contextmanager
def one_job_at_a_time(path: Path) -> Iterator[None]:
    """Let the other jobs of a sweep wait: what they share is made by one and found by the others.

    Args:
        path: of what is made; its lock lies beside it, on a disk that all machines share.
    """
    if not parent_of_sweep():
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.with_name(f".{path.name}.lock"), f"Another job of the sweep makes {path}"):
        yield


class SweepParent(Callback):
    """Hydra callback: opens the parent run before the first job and closes it after the last."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Open the parent in the store of the sweep's own configuration."""
        # Hydra makes this callback for every command; only sweeps should wait for MLflow to load.
        from kidney.tracking.runs import Tracking, start_run

        self._tracking = Tracking(config.tracking.uri, config.tracking.experiment)
        name = " ".join(config.hydra.overrides.task) or "sweep"
        os.environ[PARENT_RUN] = start_run(self._tracking, name, {"kind": "sweep"})
        # Where a job failed, Hydra leaves without a word to its callbacks.
        atexit.register(self._end, "FAILED")

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:  # noqa: ARG002
        """Close the parent: every job was done."""
        atexit.unregister(self._end)
        self._end("FINISHED")

    def _end(self, status: str) -> None:
        from kidney.tracking.runs import end_run

        end_run(self._tracking, os.environ.pop(PARENT_RUN), status)
