"""The tracking run of a folder, by which work that was cut off goes on in the run that it began."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kidney.files import write_text
from kidney.tracking.runs import Tracking, log_parameters, reopen_run, start_run

_FILE = "run_id"


def remembered(folder: Path) -> str:
    """Return the id of the run that a folder belongs to; "" where it belongs to none yet."""
    known = folder / _FILE
    return known.read_text(encoding="utf-8").strip() if known.is_file() else ""


def reopened(tracking: Tracking, folder: Path) -> str:
    """Open the run of a folder again and return its id; "" where there is none any more."""
    run_id = remembered(folder)
    return run_id if run_id and reopen_run(tracking, run_id) else ""


def opened(
    tracking: Tracking,
    folder: Path,
    name: str,
    tags: dict[str, str],
    parent: str | None,
    parameters: Mapping[str, Any],
) -> str:
    """Start a run, remember it in a folder once it has its parameters, and return its id."""
    run_id = start_run(tracking, name, tags, parent)
    log_parameters(tracking, run_id, dict(parameters))
    write_text(folder / _FILE, run_id)
    return run_id
