"""The server process: gunicorn with a pool of threads for requests around one model a worker."""

import dataclasses
import mmap
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger

from kidney.artifact.reader import read_artifact
from kidney.errors import ArtifactError, KidneyError
from kidney.remote.http import is_hub, is_url
from kidney.remote.mlflow_rest import read_reference
from kidney.remote.object_store import is_object
from kidney.serving.guards.access import check_auth
from kidney.serving.monitoring import logs
from kidney.serving.process.worker import Worker, stop_accepting
from kidney.serving.settings import PREFIX, Settings

FETCHED = "artifacts/served/kidney.onnx"  # where a model of a registry goes by default
SPARE_THREADS = 16  # beside those of admitted requests: for refusals, and for all that is quick
CONNECTIONS = 4096  # that one worker holds, idle ones included
KEEP_ALIVE_SECONDS = 75  # longer than the proxies before it, so that they close first
GRACE_SECONDS = 5  # beyond the deadline of a request, at SIGTERM
_RETRY_SECONDS = 2.0  # before a worker that could not open the model is replaced
_METRICS = "PROMETHEUS_MULTIPROC_DIR"
_SHARED_MEMORY = Path("/dev/shm")  # writable where the root file system is not, and faster


def with_options(environment: Mapping[str, str], **options: object) -> dict[str, str]:
    """Return the environment with the options of a command line, which override it.

    A model that is no file but `kidney@champion`, hf://, s3:// or http(s):// becomes
    KIDNEY_MODEL_FROM.

    Args:
        environment: variables as they are set.
        options: settings in small letters; None: not given.
    """
    given = {PREFIX + name.upper(): str(value) for name, value in options.items() if value}
    merged = {**environment, **given}
    model = merged.get("KIDNEY_MODEL", "")
    if read_reference(model) or is_hub(model) or is_url(model) or is_object(model):
        path = environment.get("KIDNEY_MODEL", "")
        merged["KIDNEY_MODEL_FROM"] = model
        merged["KIDNEY_MODEL"] = FETCHED if path in ("", model) else path
    return merged


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; ends the process with status 0 then.

    Prints "Serving on http://HOST:PORT" to stdout once the port accepts connections.

    Raises:
        ArtifactError: the model is missing, foreign or broken, not the one that is asked for, or
            not signed as KIDNEY_PUBLIC_KEY asks for.
        DataError: it cannot be fetched from KIDNEY_MODEL_FROM.
        ConfigError: as for `check_auth`.
    """
    check_auth(settings)
    # One for all workers: a session of one is a session of the others.
    secret = settings.session_secret or secrets.token_hex(32)
    settings = dataclasses.replace(settings, session_secret=secret)
    # Each worker opens the model for itself and checks it then; here it is for the message. No
    # onnxruntime: a fork of a process in which it was loaded aborts when it ends.
    if settings.model_from:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            process.submit(_fetch, settings).result()
    else:
        read_artifact(settings.model, settings.model_sha256)
    logs.configure()
    first = os.getpid()
    try:
        with metrics_folder():
            _Server(settings).run()
    except SystemExit as end:  # workers end with one, too
        if end.code == Arbiter.APP_LOAD_ERROR and os.getpid() == first:
            raise ArtifactError(
                f"Expected to serve {settings.model}, but no worker could open it.",
                "What stopped them stands above.",
            ) from None
        raise


class _JsonLogger(Logger):  # type: ignore[misc]
    """gunicorn's log as JSON lines."""

    def setup(self, cfg: Any) -> None:
        self.cfg = cfg
        logs.configure()


class _Master(Arbiter):  # type: ignore[misc]
    """gunicorn's first process, which stops accepting before it shuts down."""

    def stop(self, graceful: bool = True) -> None:
        if graceful:
            stop_accepting([listener.sock for listener in self.LISTENERS])
        super().stop(graceful)


class _Server(BaseApplication):  # type: ignore[misc]
    """gunicorn, configured in code. Preloading stays off: onnxruntime's threads die in a fork."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._opened = mmap.mmap(-1, 1)  # shared with the workers: 1 once one has the model open
        Worker.seconds = settings.deadline_seconds
        threads = settings.queue + SPARE_THREADS
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        self._options: dict[str, Any] = {
            "bind": f"{host}:{settings.port}",
            "workers": settings.workers,
            "worker_class": Worker,
            "threads": threads,
            "worker_connections": max(CONNECTIONS, 2 * threads),
            "keepalive": KEEP_ALIVE_SECONDS,
            "graceful_timeout": int(settings.deadline_seconds) + GRACE_SECONDS,
            "logger_class": _JsonLogger,
            "forwarded_allow_ips": "",  # what proxies say is believed by KIDNEY_PROXIES alone
            "when_ready": _announce,
            "child_exit": _mark_dead,
            # gunicorn 25 and later open a socket in the home folder, which may be read-only
            "control_socket_disable": True,
        }
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def run(self) -> None:
        _Master(self).run()

    def load(self) -> Flask:
        from kidney.serving.app import create_app
        from kidney.serving.process.reload import Reloader, return_large_blocks, trim_memory

        return_large_blocks()
        try:
            app = create_app(self._settings)
        except KidneyError as error:
            print(f"serve.py: {error}", file=sys.stderr, flush=True)
            if not self._opened[0]:
                sys.exit(Arbiter.APP_LOAD_ERROR)  # which ends the server
            time.sleep(_RETRY_SECONDS)
            sys.exit(1)  # which lets another worker try again: the file may be replaced by then
        self._opened[0] = 1
        trim_memory()
        Reloader(app.extensions["kidney.engine"], self._settings).start()
        return app


def _fetch(settings: Settings) -> None:
    from kidney.remote.fetch_model import fetch_model

    fetch_model(settings.model_from, settings.model, sha256=settings.model_sha256)


@contextmanager
def metrics_folder() -> Iterator[None]:
    """Make the folder in which the workers keep their metrics, so that one answers for all.

    prometheus_client looks for it as it is imported: here that comes later.
    """
    folder = tempfile.mkdtemp(
        prefix="kidney-metrics-", dir=_SHARED_MEMORY if os.access(_SHARED_MEMORY, os.W_OK) else None
    )
    os.environ[_METRICS] = folder
    master = os.getpid()
    try:
        yield
    finally:
        if os.getpid() == master:  # a worker that ends passes here too
            del os.environ[_METRICS]
            shutil.rmtree(folder, ignore_errors=True)


def _mark_dead(_: Arbiter, worker: Worker) -> None:
    """Drop the gauges of a worker that is gone; its counters stay counted."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(worker.pid)


def _announce(arbiter: Any) -> None:
    host, port = arbiter.LISTENERS[0].sock.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    print(f"Serving on http://{shown}:{port}", flush=True)
