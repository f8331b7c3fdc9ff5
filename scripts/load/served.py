"""A server in a process of its own, and what its clients see."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
_SECONDS = 60.0


@dataclass
class Served:
    """A server that answers.

    Attributes:
        process: its first process.
        address: HOST:PORT.
        ready: seconds from its start to its first answer.
    """

    process: subprocess.Popen[bytes]
    address: str
    ready: float

    def workers(self) -> list[int]:
        """Return the ids of the processes below the first."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(child) for child in children]

    def memory(self) -> float:
        """Return MB that all its processes hold, shared ones counted once (PSS)."""
        return sum(_pss(pid) for pid in (self.process.pid, *self.workers())) / 1e3

    def ask(self, file: Path, **options: float) -> "subprocess.Popen[bytes]":
        """Start clients, see load/ask.py."""
        given = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        script = Path(__file__).with_name("ask.py")
        command = [sys.executable, str(script), self.address, "--file", str(file), *given]
        return subprocess.Popen(command, stdout=subprocess.PIPE)


@dataclass
class Seen:
    """What clients saw.

    Attributes:
        starts: second at which each request began.
        seconds: what each took.
        statuses: HTTP status of each; 0: it was lost.
    """

    starts: np.ndarray
    seconds: np.ndarray
    statuses: np.ndarray

    def rate(self) -> float:
        """Return answers of status 200 a second."""
        good = self.statuses == 200
        return float(good.sum() / (self.starts + self.seconds)[good].max())

    def milliseconds(self, percentile: float, status: int = 200) -> float:
        """Return how long the answers of a status took."""
        those = self.seconds[self.statuses == status]
        return float(np.percentile(those, percentile) * 1e3) if len(those) else float("nan")

    def counts(self) -> dict[int, int]:
        """Return how many answers there are of each status."""
        found, counts = np.unique(self.statuses, return_counts=True)
        return dict(zip(found.tolist(), counts.tolist(), strict=True))


def seen(clients: "subprocess.Popen[bytes]") -> Seen:
    """Wait for clients and return what they saw."""
    out, _ = clients.communicate()
    starts, seconds, statuses = np.array(json.loads(out), dtype=float).reshape(-1, 3).T
    return Seen(starts, seconds, statuses.astype(int))


@contextmanager
def served(model: Path, **settings: Any) -> Iterator[Served]:
    """Serve `model` as serve.py does; settings are names of Settings."""
    wanted = {"model": model, "auth": "off", "rate_limit": "off", **settings}
    environment = {f"KIDNEY_{name.upper()}": str(value) for name, value in wanted.items()}
    with _running([sys.executable, "serve.py"], environment, "/readyz") as server:
        yield server


@contextmanager
def _running(command: list[str], environment: dict[str, str], path: str) -> Iterator[Served]:
    port = free_port()
    kept = {name: value for name, value in os.environ.items() if "KIDNEY_" not in name}
    with tempfile.TemporaryFile() as log:
        began = time.perf_counter()
        process = subprocess.Popen(
            [*command, "--port", str(port)] if "serve.py" in command else command,
            cwd=ROOT,
            env={**kept, **environment, "PORT": str(port)},
            stdout=log,
            stderr=log,
        )
        try:
            address = f"127.0.0.1:{port}"
            while not _answers(f"http://{address}{path}"):
                if process.poll() is not None or time.perf_counter() - began > _SECONDS:
                    log.seek(0)
                    sys.exit(f"The server did not start:\n{log.read().decode()}")
                time.sleep(0.005)
            yield Served(process, address, time.perf_counter() - began)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


@contextmanager
def other_server(command: list[str], **environment: str) -> Iterator[Served]:
    """Run another server; the variable PORT tells it where, and / has to answer."""
    with _running(command, environment, "/") as server:
        yield server


def free_port() -> int:
    """Return a port that nobody listens to."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=_SECONDS) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _pss(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
