"""Two workers behave as one server: sessions, metrics, logs."""

import io
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import requests

from kidney.serving.guards.keys import entry, new_key
from tests.helpers.pictures import encode
from tests.helpers.tiny_model import CARD, write_tiny_model
from tests.helpers.training_slices import drawn
from tests.serving.monitoring.test_drift import LEARNED, baseline_of, wait_for
from tests.serving.monitoring.test_metrics import scraped_text, value

ROOT = Path(__file__).parents[2]
SECONDS = 180  # a guard against a hang
KEY = new_key()


@dataclass
class Server:
    process: subprocess.Popen
    url: str = ""

    def workers(self) -> list[int]:
        pid = self.process.pid
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]

    def folders(self) -> list[Path]:
        """Where the workers keep their metrics."""
        places = (Path("/dev/shm"), Path(tempfile.gettempdir()))
        pids = {str(worker) for worker in self.workers()}
        files = [file for place in places for file in place.glob("kidney-metrics-*/counter_*.db")]
        return sorted({file.parent for file in files if file.stem.split("_")[1] in pids})

    @contextmanager
    def only(self, worker: int) -> Iterator[None]:
        """Let the other workers sleep."""
        others = [pid for pid in self.workers() if pid != worker]
        for pid in others:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in others:
                os.kill(pid, signal.SIGCONT)

    def metrics(self) -> dict:
        return scraped_text(requests.get(f"{self.url}/metrics", timeout=SECONDS).text)

    def read(self, slice_: np.ndarray, **options) -> requests.Response:
        files = {"file": ("Meier.png", io.BytesIO(encode(slice_)))}
        return requests.post(
            f"{self.url}/api/v1/predictions", files=files, timeout=SECONDS, **options
        )


def start(*arguments: object, **settings: str) -> subprocess.Popen:
    environment = {name: value for name, value in os.environ.items() if "KIDNEY_" not in name}
    return subprocess.Popen(
        [sys.executable, "serve.py", "--port", "0", *map(str, arguments)],
        cwd=ROOT,
        env=environment | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    card = replace(CARD, baseline=baseline_of(LEARNED))
    model = write_tiny_model(tmp_path / "kidney.onnx", card=card)
    keys = {"KIDNEY_API_KEYS": entry("viewer", KEY)}
    process = start("--model", model, "--workers", 2, "--threads", 1, **keys)
    try:
        assert select.select([process.stdout], [], [], SECONDS)[0], "the server did not start"
        server = Server(process, process.stdout.readline().strip().removeprefix("Serving on "))
        wait_for(lambda: value(server.metrics(), "kidney_workers_ready") == 2)
        yield server
    finally:
        process.kill()
        process.communicate()


def test_two_workers_are_one_server(server: Server):
    slices = drawn(8, seed=5)
    key = {"X-API-Key": KEY}
    for worker in server.workers():
        with server.only(worker):
            for slice_ in slices:
                assert server.read(slice_, headers=key).status_code == 200
    # what either has counted, both report
    wait_for(lambda: value(server.metrics(), "kidney_drift_slices") > 14)
    for worker in server.workers():
        with server.only(worker):
            found = server.metrics()
            assert value(found, "kidney_slices_total") == 16
            assert value(found, "kidney_decisions_total") == 16
            assert value(found, "kidney_requests_total", status="200", method="POST") == 16
            assert len(found["kidney_drift_psi"]) == 7

    # a session of one is a session of the other
    first, second = server.workers()
    browser = requests.Session()
    browser.headers["Connection"] = "close"
    with server.only(first):
        page = browser.get(f"{server.url}/login", timeout=SECONDS).text
        token = re.search(r'name="csrf_token" value="([^"]+)"', page)[1]
        form = {"key": KEY, "csrf_token": token}
        assert browser.post(f"{server.url}/login", form, timeout=SECONDS).url == f"{server.url}/"
    with server.only(second):
        page = browser.get(f"{server.url}/", allow_redirects=False, timeout=SECONDS)
        assert page.status_code == 200

    # one dies: what it counted stays counted, its gauges do not
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: first not in server.workers() and len(server.workers()) == 2)
    wait_for(lambda: value(server.metrics(), "kidney_workers_ready") == 2)
    found = server.metrics()
    assert value(found, "kidney_slices_total") == 16
    assert value(found, "kidney_requests_in_flight") == 1
    assert 5 < value(found, "kidney_drift_slices") < 9

    (folder,) = server.folders()
    os.kill(second, signal.SIGTERM)  # another ends as it should
    wait_for(lambda: second not in server.workers() and len(server.workers()) == 2)
    wait_for(lambda: value(server.metrics(), "kidney_workers_ready") == 2)
    assert value(server.metrics(), "kidney_slices_total") == 16
    with socket.create_connection(server.url.removeprefix("http://").split(":"), SECONDS) as raw:
        raw.sendall(b"GET /Meier HTTP/7.7\r\nX-Patient: Meier\r\n\r\n")
        assert raw.recv(1000).startswith(b"HTTP/1.1 400")
    server.process.send_signal(signal.SIGTERM)
    _, log = server.process.communicate(timeout=SECONDS)
    assert server.process.returncode == 0
    assert not folder.exists()
    lines = [json.loads(line) for line in log.splitlines()]
    assert sum(line["message"] == "request" for line in lines) > 16
    assert {line["key"] for line in lines if line.get("slices")} == {"viewer"}
    said = [line["message"] for line in lines if line["logger"] == "gunicorn.error"]
    assert any("SIGKILL" in message for message in said)
    assert any(message.startswith("Invalid request") for message in said)
    assert "Meier" not in log
    assert "127.0.0.1" not in log
    assert KEY not in log


@pytest.mark.parametrize(
    ("arguments", "settings", "words"),
    [
        ((), {}, "Expected an API key"),
        (("--host", "0.0.0.0"), {"KIDNEY_AUTH": "off"}, "KIDNEY_AUTH=off only on a loopback"),
        ((), {"KIDNEY_API_KEYS": KEY}, "not shown"),
    ],
    ids=["no key", "off for others", "a key instead of its hash"],
)
def test_it_does_not_start_without_keys(model, arguments, settings, words):
    process = start("--model", model, *arguments, **settings)
    out, message = process.communicate(timeout=SECONDS)
    assert (process.returncode, out) == (2, "")
    assert words in message
    assert "What to do: " in message
    assert "Traceback" not in message
    assert KEY not in message
