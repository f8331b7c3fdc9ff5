import io
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from kidney.artifact.predictor import Predictor
from kidney.serving.app import create_app
from kidney.serving.guards.admission import Budget
from kidney.serving.guards.keys import entry, new_key
from kidney.serving.settings import Settings
from tests.helpers.pictures import encode, gradient
from tests.helpers.server_process import SECONDS, answered, form, post, serving, wait_until


class Gate:
    """Holds every prediction until it is opened; counts those that have come."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.came = threading.Semaphore(0)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate, predict = Gate(), Predictor.predict

    def held(self: Predictor, slices: Any) -> Any:
        gate.came.release()
        gate.open.wait()
        return predict(self, slices)

    gate.open.set()
    monkeypatch.setattr(Predictor, "predict", held)
    yield gate
    gate.open.set()


def app(model: Path, **settings: Any) -> Flask:
    return create_app(Settings(model=model, threads=1, auth=False, **settings))


def send(app: Flask, answers: list[Any], to: str = "/api/v1/predictions") -> threading.Thread:
    def post() -> None:
        data = {"file": (io.BytesIO(encode(gradient())), "a.png")}
        answers.append(app.test_client().post(to, data=data))

    thread = threading.Thread(target=post)
    thread.start()
    return thread


class Unread(io.BytesIO):
    def read(self, *_: object) -> bytes:
        raise AssertionError("the body was read")

    readinto = read


@pytest.mark.parametrize("to", ["/api/v1/predictions", "/"])
def test_beyond_the_queue_the_answer_is_503_before_the_body_is_read(
    model: Path, gate: Gate, to: str
):
    server, answers = app(model, queue=2), []
    gate.came.acquire()  # the warm-up
    gate.open.clear()
    threads = [send(server, answers) for _ in range(2)]
    for _ in threads:
        gate.came.acquire()
    refused = server.test_client().post(
        to,
        input_stream=Unread(bytes(1000)),
        content_type="multipart/form-data; boundary=x",
    )
    assert refused.status_code == 503
    assert int(refused.headers["Retry-After"]) > 0
    assert refused.headers["X-Request-ID"]
    if to == "/":
        assert "The server is busy" in refused.text
    else:
        assert refused.content_type == "application/problem+json"
        assert refused.json["type"] == "urn:kidney:problem:busy"
    assert server.test_client().get("/readyz").status_code == 200
    assert server.test_client().get("/").status_code == 200
    gate.open.set()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [200, 200]
    send(server, answers).join()
    assert answers[-1].status_code == 200


def test_a_request_that_waits_beyond_its_deadline_is_late_and_releases_its_place(
    model: Path, gate: Gate
):
    server, answers, first = app(model, queue=3, deadline_seconds=0.2), [], threading.Semaphore(0)
    gate.came.acquire()
    gate.open.clear()
    server.teardown_request(lambda _: first.release())
    threads = [send(server, answers) for _ in range(3)]
    first.acquire()  # the third, since the engine computes two at a time
    assert answers[0].status_code == 503
    assert answers[0].json["type"] == "urn:kidney:problem:late"
    assert int(answers[0].headers["Retry-After"]) > 0
    gate.open.set()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers[1:]] == [200, 200]
    send(server, answers).join()
    assert answers[-1].status_code == 200


def test_a_request_that_fails_releases_its_place(model: Path):
    server = app(model, queue=1)
    for _ in range(3):
        assert server.test_client().post("/api/v1/predictions").status_code == 400
    answers: list[Any] = []
    send(server, answers).join()
    assert answers[0].status_code == 200


def test_what_requests_hold_together_is_bounded():
    budget = Budget(most=100, share=100)
    assert budget.acquire("a", 90)
    assert not budget.acquire("b", 20)
    assert budget.acquire("b", 10)
    assert budget.acquire("a", -90)
    assert not budget.acquire("b", 91, own=5)
    assert budget.acquire("b", 90)


def test_a_request_that_is_alone_is_admitted_however_large_it_is():
    budget = Budget(most=100, share=50)
    assert budget.acquire("a", 200)
    assert budget.acquire("a", 200, own=200)
    assert not budget.acquire("b", 1)
    assert not budget.acquire("a", 1, own=200)


def test_one_client_leaves_room_for_others():
    budget = Budget(most=100, share=50)
    assert budget.acquire("a", 50)
    assert not budget.acquire("a", 1)
    assert budget.acquire("b", 50)


def chunked(address: str, key: str, size: int) -> socket.socket:
    """Begin an upload that does not tell its length; it stops after `size` bytes."""
    host, port = address.rsplit(":", 1)
    client = socket.create_connection((host, int(port)), timeout=SECONDS)
    head = (
        f"POST /api/v1/predictions HTTP/1.1\r\nHost: {address}\r\nX-API-Key: {key}\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + bytes(size)
    client.sendall(head.encode() + f"{len(part):x}\r\n".encode() + part + b"\r\n")
    return client


def test_uploads_that_stop_leave_room_for_other_keys(model: Path):
    one, other = new_key(), new_key()
    keys = f"{entry('one', one)},{entry('other', other)}"
    limits = {"queue": 4, "max_upload_bytes": 1_000_000, "deadline_seconds": SECONDS}
    with serving(model, auth="on", api_keys=keys, **limits) as server, ExitStack() as stack:
        for _ in range(2):  # half of the queue
            client = stack.enter_context(chunked(server.address, one, 450_000))
        wait_until(lambda: server.in_flight() == 2)
        body, headers = form(encode(gradient()))
        assert post(server.client(), body, headers | {"X-API-Key": one})[0] == 503
        for _ in range(3):
            assert post(server.client(), body, headers | {"X-API-Key": other})[0] == 200
        client.sendall(b"7a120\r\n" + bytes(500_000) + b"\r\n")  # beyond the share of a key
        assert answered(client)[0] == 503
        assert post(server.client(), body, headers | {"X-API-Key": one})[0] == 200


def test_decoded_pixels_count_until_their_request_ends(model: Path, gate: Gate):
    server, answers = app(model, max_request_pixels=48 * 64), []
    gate.came.acquire()
    gate.open.clear()
    threads = []
    for _ in range(3):
        threads.append(send(server, answers))
        if len(threads) < 3:
            gate.came.acquire()
    refused: list[Any] = []
    send(server, refused).join(SECONDS)
    assert refused[-1].json["type"] == "urn:kidney:problem:busy"
    gate.open.set()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [200] * 3
    send(server, answers).join()
    assert answers[-1].status_code == 200
