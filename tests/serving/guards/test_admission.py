import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from kidney.artifact.predictor import Predictor
from kidney.serving.app import create_app
from kidney.serving.guards.admission import Budget
from kidney.serving.settings import Settings
from tests.helpers.pictures import encode, gradient


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
