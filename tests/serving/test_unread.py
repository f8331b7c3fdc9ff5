"""Requests that gunicorn cannot read: the application never sees them."""

import json
import socket
from http.client import HTTPResponse

import pytest

from tests.helpers.server_process import SECONDS, serving


@pytest.fixture(scope="module")
def address(model):
    with serving(model) as server:
        host, port = server.address.rsplit(":", 1)
        yield host, int(port)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"secret nonsense\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nsecret header\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nLong: " + b"secret" * 5000 + b"\r\n\r\n", 431),
    ],
    ids=["no request", "no version", "no header", "long header"],
)
def test_they_get_a_problem_that_quotes_nothing(address, sent, status):
    with socket.create_connection(address, timeout=SECONDS) as client:
        client.sendall(sent)
        answer = HTTPResponse(client)
        answer.begin()
        body = answer.read()
    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/problem+json")
    problem = json.loads(body)
    assert problem["status"] == status
    assert problem["request_id"] == answer.headers["X-Request-ID"]
    assert b"secret" not in body
