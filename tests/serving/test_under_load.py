"""Overload, shutdown, a new model and a killed worker, on a real server with real clients."""

import dataclasses
import http.client
import os
import re
import signal
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from kidney.serving.settings import Settings
from tests.helpers.pictures import blank_png, encode, gradient
from tests.helpers.server_process import (
    ROOT,
    SECONDS,
    Server,
    answered,
    form,
    post,
    serving,
    started,
    wait_until,
)
from tests.helpers.slow_model import write_slow_model
from tests.helpers.tiny_model import CARD, write_tiny_model
from tests.helpers.upload_files import packed

BODY, HEADERS = form(encode(gradient()))
LARGE = form(encode(gradient()) + bytes(3_000_000))  # more than sockets hold
OTHER = dataclasses.replace(CARD, run="another-run")


@pytest.fixture(scope="session")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that takes some hundred milliseconds a slice."""
    return write_slow_model(tmp_path_factory.mktemp("slow") / "kidney.onnx", products=50)


def together(count: int, work: Callable[[int], None]) -> list[threading.Thread]:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    return threads


def join(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(timeout=SECONDS)
        assert not thread.is_alive(), "a client hangs"


@pytest.mark.parametrize("request_", [(BODY, HEADERS), LARGE], ids=["small", "large"])
def test_beyond_the_queue_each_request_gets_a_503_at_once(
    slow: Path, request_: tuple[bytes, dict[str, str]]
):
    with serving(slow, queue=2) as server:
        holding = [started(server.address, BODY, HEADERS, sent=10) for _ in range(2)]
        wait_until(lambda: server.in_flight() == 2)
        answers: list[tuple[int, bytes, http.client.HTTPMessage]] = []

        def ask(_: int) -> None:
            client = server.client()
            answers.extend(post(client, *request_) for _ in range(3))

        join(together(20, ask))
        assert Counter(status for status, _, _ in answers) == {503: 60}
        assert all(headers["Retry-After"] for _, _, headers in answers)
        assert all(headers["Content-Type"] == "application/problem+json" for *_, headers in answers)
        assert server.get_json("/healthz") == {"status": "up"}
        for client in holding:
            client.sendall(BODY[10:])
        assert [answered(client)[0] for client in holding] == [200, 200]
        assert post(server.client(), BODY, HEADERS)[0] == 200


@pytest.mark.slow
def test_idle_and_half_sent_connections_block_no_request(model: Path):
    with serving(model, queue=2, deadline_seconds=1) as server:
        idle = [socket.create_connection(server.client_address()) for _ in range(60)]
        half = [socket.create_connection(server.client_address()) for _ in range(30)]
        for client in half:
            client.sendall(b"POST /api/v1/predictions HTTP/1.1\r\nHost")
        trickling = started(server.address, BODY, HEADERS, sent=10)
        assert answered(trickling)[0] == 408
        assert post(server.client(), BODY, HEADERS)[0] == 200
        for client in (*half, *idle, trickling):
            client.close()
        assert server.process.poll() is None
        assert "Traceback" not in server.stop()


def test_sigterm_loses_no_request(slow: Path):
    with serving(slow, queue=16) as server:
        arriving = started(server.address, BODY, HEADERS, sent=len(BODY) // 2)
        idle = server.client()
        assert post(idle, BODY, HEADERS)[0] == 200
        statuses: list[int] = []

        def ask(_: int) -> None:
            statuses.append(post(server.client(), BODY, HEADERS)[0])

        threads = together(8, ask)
        wait_until(lambda: server.in_flight() + len(statuses) == 9)  # with the one that arrives
        backlog = [
            started(server.address, BODY, HEADERS, sent=len(BODY)) for _ in range(4)
        ]  # connected, and perhaps not accepted yet
        server.process.send_signal(signal.SIGTERM)
        wait_until(server.refuses)
        # A connection that was open may end what it has begun, and ask once more.
        assert post(idle, BODY, HEADERS)[0] == 200
        arriving.sendall(BODY[len(BODY) // 2 :])
        assert answered(arriving)[0] == 200
        assert [answered(client)[0] for client in backlog] == [200] * 4
        join(threads)
        assert statuses == [200] * 8
        assert "Traceback" not in server.ended()
        assert server.process.returncode == 0


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_the_model_is_swapped_under_load_and_no_request_fails(tmp_path: Path, workers: int):
    path = write_tiny_model(tmp_path / "kidney.onnx")
    with serving(path, workers=workers, watch_seconds=0.2) as server:
        seen: Counter[tuple[int, str]] = Counter()
        stop = threading.Event()

        def ask(_: int) -> None:
            client = server.client()
            while not stop.is_set():
                status, body, _ = post(client, BODY, HEADERS)
                run = "another-run" if b"another-run" in body else "tiny-run"
                seen[status, run] += 1

        threads = together(4, ask)
        # One that is still starting would not keep an old model: it has none.
        wait_until(lambda: server.metric("kidney_workers_ready") == workers)
        wait_until(lambda: seen)
        replace(path, b"no model")
        wait_until(lambda: swaps(server, "failed") == workers)
        assert server.get_json("/readyz")["new_model_refused"] is True
        write_tiny_model(tmp_path / "new.onnx", card=OTHER)
        replace(path, (tmp_path / "new.onnx").read_bytes())
        wait_until(lambda: swaps(server, "done") == workers)
        seen.clear()
        wait_until(lambda: sum(seen.values()) > 100)
        stop.set()
        join(threads)
        assert {status for status, _ in seen} == {200}
        assert seen[200, "tiny-run"] <= 4  # what each client had begun before
        log = server.stop()
        assert log.count("A new one was refused") == workers
        assert log.count("of run another-run answers now.") == workers


def swaps(server: Server, result: str) -> float:
    """Return how often a worker took another model, "done", or kept its own, "failed"."""
    return server.metric(f'kidney_model_swaps_total{{result="{result}"}}')


def replace(path: Path, data: bytes) -> None:
    """Replace a file as `mv` does."""
    new = path.with_name("moved.onnx")
    new.write_bytes(data)
    new.replace(path)


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_killed_worker_is_replaced(model: Path, workers: int):
    with serving(model, workers=workers) as server:
        wait_until(lambda: len(server.workers()) == workers)
        assert post(server.client(), BODY, HEADERS)[0] == 200
        (victim, *others) = server.workers()
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: victim not in server.workers() and len(server.workers()) == workers)
        assert set(others) < server.workers()
        for _ in range(8):
            assert post(server.client(), BODY, HEADERS)[0] == 200
        server.stop()
        assert server.process.returncode == 0


@pytest.mark.slow
def test_a_worker_that_cannot_open_the_model_is_replaced_once_it_can(tmp_path: Path):
    path = write_tiny_model(tmp_path / "kidney.onnx")
    good = path.read_bytes()
    with serving(path, watch_seconds=0) as server:
        assert post(server.client(), BODY, HEADERS)[0] == 200
        path.write_bytes(b"no model")
        (victim,) = server.workers()
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: server.workers() - {victim})
        failing = server.workers() - {victim}
        wait_until(lambda: not server.workers() & failing)  # it could not, and is gone
        path.write_bytes(good)
        assert post(server.client(), BODY, HEADERS)[0] == 200
        assert f"serve.py: {path} (sha256sum " in server.stop()


@pytest.mark.slow
def test_a_large_series_lets_a_single_slice_pass(slow: Path):
    with serving(slow) as server:
        done: list[int] = []

        def series(number: int) -> None:
            assert post(server.client(), *form(*[encode(gradient())] * 12))[0] == 200
            done.append(number)

        threads = together(3, series)
        wait_until(lambda: server.in_flight() == 3)
        assert post(server.client(), BODY, HEADERS)[0] == 200
        assert not done, "the slice waited for the series"
        join(threads)


@pytest.mark.slow
def test_a_request_beyond_its_deadline_gets_a_503(slow: Path):
    with serving(slow, deadline_seconds=1) as server:
        status, body, headers = post(server.client(), *form(*[encode(gradient())] * 60))
        assert status == 503
        assert b"urn:kidney:problem:late" in body
        assert headers["Retry-After"]
        assert post(server.client(), BODY, HEADERS)[0] == 200


def test_a_client_that_still_sends_gets_its_response(model: Path):
    """The server closes in two steps, so no reset overtakes the response."""
    with serving(model) as server:
        client = server.client()
        client.request("POST", "/healthz", bytes(8_000_000), {"Connection": "close"})
        assert client.getresponse().status == 405


def peak_bytes(pid: int) -> int:
    (line,) = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(line) * 1024


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_worker_stays_below_what_the_page_of_operations_says(model: Path):
    page = (ROOT / "docs" / "operations.md").read_text()
    slices, computing = (
        int(re.search(rf"\| {row}.*\| (\d+) MiB", page)[1]) * 2**20
        for row in ("decoded slices", "two pictures that are decoded")
    )
    bomb = form(packed(*[blank_png(3999)] * 9))  # 144 million pixels in 1.5 kB
    limits = Settings()
    assert slices >= 3 * limits.max_request_pixels
    with serving(model, deadline_seconds=SECONDS) as server:
        (worker,) = server.workers()
        before = peak_bytes(worker)
        statuses: Counter[int] = Counter()

        def send(_: int) -> None:
            statuses[post(server.client(), *bomb)[0]] += 1

        join(together(6, send))
        assert set(statuses) == {200, 503}
        assert peak_bytes(worker) - before < slices + computing
