"""The server process: gunicorn with one thread pool of requests around one model."""

import dataclasses
import logging
import secrets
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]
from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]

from kidney.errors import ConfigError
from kidney.serving.access import check_auth
from kidney.serving.settings import Settings, from_environment

REQUEST_THREADS = 8  # requests that one worker reads and writes at a time
GRACE_SECONDS = 30  # how long running requests may finish after SIGTERM


def serve(
    model: Path | None, host: str, port: int, workers: int = 1, threads: int | None = None
) -> None:
    """Serve `model` until SIGTERM or SIGINT; ends the process with status 0 then.

    Prints "Serving on http://HOST:PORT" to stdout once the port accepts connections.

    Args:
        model: the kidney.onnx; None: KIDNEY_MODEL or artifacts/kidney.onnx.
        host: address to listen on.
        port: 0 lets the system choose a free one.
        workers: processes, each with its own copy of the model.
        threads: threads that compute one prediction; None: KIDNEY_THREADS, or the cores.

    Raises:
        ArtifactError: the model is missing, foreign or broken, not the one that is asked for, or
            not signed as KIDNEY_PUBLIC_KEY asks for.
        DataError: it cannot be fetched from KIDNEY_MODEL_FROM.
        ConfigError: `port`, `workers`, `threads` or a KIDNEY_ variable cannot work.
    """
    _check("--port", port, 0, 65535)
    _check("--workers", workers, 1, 1024)
    if threads is not None:
        _check("--threads", threads, 1, 1024)
    settings = from_environment()
    settings = dataclasses.replace(
        settings,
        model=model or settings.model,
        threads=threads or settings.threads,
        host=host,
        session_secret=settings.session_secret or secrets.token_hex(32),  # one for all workers
    )
    check_auth(settings)
    # Each worker opens the model for itself; a worker that cannot would only leave a traceback.
    # The check has a process of its own: a fork of a process in which onnxruntime was loaded
    # aborts when it ends, so the master must never load it.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        process.submit(_check_model, settings).result()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    _Server(settings, f"{host}:{port}", workers).run()


class _Worker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's thread worker, whose last wait ends when idle connections run out of time.

    gunicorn 26 waits for the whole grace period as soon as one browser keeps its connection open.
    """

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        super().wait_for_and_dispatch_events(min(timeout, 1.0))


class _Server(BaseApplication):  # type: ignore[misc]
    """gunicorn, configured in code. Preloading stays off: onnxruntime's threads die in a fork."""

    def __init__(self, settings: Settings, bind: str, workers: int) -> None:
        self._settings = settings
        self._options: dict[str, Any] = {
            "bind": bind,
            "workers": workers,
            "worker_class": _Worker,
            "threads": REQUEST_THREADS,
            "graceful_timeout": GRACE_SECONDS,
            "loglevel": "warning",
            "when_ready": _announce,
            # gunicorn 25 and later open a socket in the home folder, which may be read-only
            "control_socket_disable": True,
        }
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Flask:
        from kidney.serving.app import create_app

        return create_app(self._settings)


def _check_model(settings: Settings) -> None:
    from kidney.fetch import fetch_model
    from kidney.predictor import check_artifact

    if settings.model_from:
        fetch_model(settings.model_from, settings.model, sha256=settings.model_sha256)
    else:
        check_artifact(settings.model, settings.model_sha256)


def _check(option: str, value: int, lowest: int, highest: int) -> None:
    if not lowest <= value <= highest:
        raise ConfigError(
            f"Expected {option} to be {lowest} to {highest}, but got {value}.", f"Correct {option}."
        )


def _announce(arbiter: Any) -> None:
    host, port = arbiter.LISTENERS[0].sock.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    print(f"Serving on http://{shown}:{port}", flush=True)
