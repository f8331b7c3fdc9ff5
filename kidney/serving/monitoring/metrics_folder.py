"""Where the workers keep their metrics, so that one can answer for all.

prometheus_client looks for the folder as it is imported, so this module does without it.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_MEMORY = Path("/dev/shm")  # writable where the root file system is not, and faster


@contextmanager
def metrics_folder() -> Iterator[None]:
    """Make the folder for this process and its children; remove it when this process leaves."""
    where = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    folder = tempfile.mkdtemp(prefix="kidney-metrics-", dir=where)
    os.environ[_VARIABLE] = folder
    master = os.getpid()
    try:
        yield
    finally:
        if os.getpid() == master:  # a worker that ends comes along here too
            del os.environ[_VARIABLE]
            shutil.rmtree(folder, ignore_errors=True)


def forget(process: int) -> None:
    """Let the gauges of a worker that is gone no longer count; its counters stay counted."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(process)
