"""What all Hydra entry points share: where conf/ lies, and errors as messages, not tracebacks."""

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig

from kidney.errors import ConfigError, KidneyError
from kidney.evaluation.result import EvaluationResult, Localisation
from kidney.reporting.labels import with_interval

_CONF = str(Path(__file__).parents[2] / "conf")


def entry_point(main: Callable[[DictConfig], Any]) -> Callable[[], None]:
    """Make `main(cfg)` a command that composes conf/config.yaml with the command line."""

    @functools.wraps(main)
    def told(cfg: DictConfig) -> Any:
        try:
            _go_where_it_was_started()
            return main(cfg)
        # Hydra prints this type without a traceback and goes on with the sweep's other jobs.
        except KidneyError as error:
            raise CompactHydraException(str(error)) from None
        except InstantiationException as error:
            if isinstance(error.__cause__, KidneyError):
                raise CompactHydraException(str(error.__cause__)) from None
            raise

    decorated = hydra.main(version_base="1.3", config_path=_CONF, config_name="config")(told)

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


def _go_where_it_was_started() -> None:
    """Ray runs the jobs of a sweep where its node was started; paths are meant from elsewhere."""
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
