"""Reload: checks every few seconds whether a newer model is to be served."""

import ctypes
import fcntl
import logging
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from kidney.errors import KidneyError
from kidney.files import sha256
from kidney.remote.fetch_model import expected_sha256, fetch_model
from kidney.serving.inference.engine import Engine
from kidney.serving.settings import Settings

_log = logging.getLogger("kidney.serving")
_M_MMAP_THRESHOLD = -3  # malloc.h
_LARGE_BLOCK = 4 * 2**20  # bytes; a slice of 512 x 512 has less, whatever its type
_COMPLETE_SECONDS = 1.0  # a file that was written to just now may not be whole


class Reloader:
    """Detects another file at `settings.model`, and another version at `settings.model_from`.

    Of several processes that serve the same file one asks the registry and fetches the file; all
    of them then find it.

    Args:
        engine: swaps its model.
        settings: model, model_sha256, model_from and watch_seconds are used.
    """

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings
        # None: the file may have changed since it was opened, so it is checked once.
        self._seen: tuple[int, int, int] | None = None
        self._lock: int | None = None  # file descriptor, once this process holds the lock
        self._trim = False

    def start(self) -> None:
        """Check every `settings.watch_seconds` from now on, in a thread of its own; 0: never."""
        if self._settings.watch_seconds:
            threading.Thread(target=self._run, name="reload", daemon=True).start()

    def check(self) -> None:
        """Check once; never raises."""
        if self._trim:  # by now the requests that the old model answered have ended
            trim_memory()
            self._trim = False
        try:
            if self._settings.model_from and self._holds_lock():
                self._fetch()
            self._check_file()
        except KidneyError as error:
            self._engine.refuse(error.problem)
        except Exception:
            _log.exception("The check for a new model failed.")

    def _run(self) -> None:
        while True:
            time.sleep(self._settings.watch_seconds)
            self.check()

    def _check_file(self) -> None:
        path = self._settings.model
        state = _state(path)
        if state is None or state == self._seen:
            return
        if 0 <= time.time() - path.stat().st_mtime < _COMPLETE_SECONDS:
            return
        self._seen = state
        if sha256(path) != self._engine.model.sha256:
            self._trim = self._engine.swap()

    def _fetch(self) -> None:
        settings = self._settings
        wanted = expected_sha256(settings.model_from, settings.model_sha256)
        if wanted and wanted != self._engine.model.sha256:
            fetch_model(
                settings.model_from, settings.model, sha256=settings.model_sha256, log=_log.warning
            )

    def _holds_lock(self) -> bool:
        if self._lock is None:
            path = self._settings.model
            lock = os.open(path.with_name(f".{path.name}.watch"), os.O_CREAT | os.O_RDWR, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # kept until this process ends
            except BlockingIOError:
                os.close(lock)
                return False
            self._lock = lock
        return True


def _state(path: Path) -> tuple[int, int, int] | None:
    """Return what changes when a file is written or replaced; None: there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def return_large_blocks() -> None:
    """Let this process return the memory of large slices as soon as they are gone.

    glibc raises its limit for that to the size of what was freed, up to 32 MB, and keeps all below:
    of slices of 4000 x 4000 it kept a gigabyte. A fixed limit is not raised.
    """
    if mallopt := _libc("mallopt"):
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK)


def trim_memory() -> None:
    """Return freed memory to the system: after a model was opened, and after one has gone.

    Opening a model takes several copies of its weights for a moment, and glibc keeps their memory:
    of a VGG16 of 59 MB it kept 120.
    """
    if malloc_trim := _libc("malloc_trim"):
        malloc_trim(0)


def _libc(function: str) -> Any:
    """Return a function of glibc; None: this system has another library."""
    return getattr(ctypes.CDLL(None), function, None) if sys.platform == "linux" else None
