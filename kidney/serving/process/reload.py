"""The model that is to be served, looked for anew every few seconds."""

import fcntl
import logging
import os
import threading
import time
from pathlib import Path

from kidney.errors import KidneyError
from kidney.files import sha256
from kidney.remote.fetch_model import expected_sha256, fetch_model
from kidney.serving.inference.engine import Engine
from kidney.serving.process.memory import trim
from kidney.serving.settings import Settings

_log = logging.getLogger("kidney.serving")
_SETTLED_SECONDS = 1.0  # a file that was written to just now may not be whole


class Watch:
    """Notices another file at `settings.model`, and another version at `settings.model_from`.

    Of several processes that serve the same file one asks where it comes from and fetches it; all
    see it then.

    Args:
        engine: is told to swap.
        settings: model, model_sha256, model_from and watch_seconds are used.
    """

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings
        # The file may be another one by now than the one that was opened: it is looked at once.
        self._seen: tuple[int, int, int] | None = None
        self._lock: int | None = None  # the file whose lock makes this process the one that asks
        self._trim = False

    def start(self) -> None:
        """Look every `settings.watch_seconds` from now on, in a thread of its own; 0: never."""
        if self._settings.watch_seconds:
            threading.Thread(target=self._run, name="watch", daemon=True).start()

    def look(self) -> None:
        """Look once; never raises."""
        if self._trim:  # by now the requests that the old model answered have ended
            trim()
            self._trim = False
        try:
            if self._settings.model_from and self._is_the_one_that_asks():
                self._fetch()
            self._look_at_the_file()
        except KidneyError as error:
            self._engine.refuse(error.problem)
        except Exception:
            _log.exception("Looking for a new model failed.")

    def _run(self) -> None:
        while True:
            time.sleep(self._settings.watch_seconds)
            self.look()

    def _look_at_the_file(self) -> None:
        path = self._settings.model
        state = _state(path)
        if state is None or state == self._seen:
            return
        if 0 <= time.time() - path.stat().st_mtime < _SETTLED_SECONDS:
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

    def _is_the_one_that_asks(self) -> bool:
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
