import http.client
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from kidney.serving.process.worker import stop_accepting

# Its worker is told to end while it sends an answer whose head has gone out.
CODE = """
import os, signal, time
from gunicorn.app.base import BaseApplication
from kidney.serving.process import worker
from kidney.serving.process.run import _announce
from kidney.serving.process.worker import Worker
worker.HEAD_SECONDS = HEAD

def answer(environ, start):
    start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    yield b"a"
    if environ["PATH_INFO"] == "/last":
        os.kill(os.getpid(), signal.SIGTERM)
        while found[-1].alive:
            time.sleep(0.001)
    yield b"b"

found = []

class Server(BaseApplication):
    def load_config(self):
        for name, value in {
            "bind": "127.0.0.1:0", "worker_class": Worker, "threads": 2, "keepalive": 60,
            "when_ready": _announce, "post_worker_init": found.append,
            "control_socket_disable": True,
        }.items():
            self.cfg.set(name, value)

    def load(self):
        return answer

Server().run()
"""


@contextmanager
def answering(head_seconds: float = 60) -> Iterator[str]:
    """Run that server, which has two threads; yield its address."""
    code = CODE.replace("HEAD\n", f"{head_seconds}\n")
    server = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        yield server.stdout.readline().split("http://")[1].strip()
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
        server.stdout.close()


def begun(address: str, data: bytes) -> socket.socket:
    host, port = address.split(":")
    client = socket.create_connection((host, int(port)), timeout=60)
    client.sendall(data)
    return client


def read(client: socket.socket) -> tuple[int, bytes]:
    answer = http.client.HTTPResponse(client)
    answer.begin()
    return answer.status, answer.read()


def test_heads_that_trickle_take_no_thread():
    with answering() as address:
        head = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        slow = [begun(address, head[:length]) for length in range(1, 9)]
        slow += [begun(address, head + head[:length]) for length in range(1, 9)]  # pipelined
        for client in slow[8:]:
            assert read(client) == (200, b"ab")
        with begun(address, head) as client:
            assert read(client) == (200, b"ab")
        for client, length in zip(slow, [*range(1, 9)] * 2, strict=True):
            client.sendall(head[length:])
            assert read(client) == (200, b"ab")
            client.close()


def test_a_head_that_does_not_end_is_refused():
    with answering(0.1) as address:
        with begun(address, b"GET / HTTP/1.1\r\nHo") as client:
            assert read(client)[0] == 408
        with begun(address, b"GET / HTTP/1.1\r\n" + b"Name: value\r\n" * 10_000) as client:
            assert read(client)[0] == 431


def test_a_connection_that_was_announced_as_kept_is_kept():
    with answering() as address:
        client = http.client.HTTPConnection(address, timeout=60)
        kept = []
        for path in ("/first", "/last", "/beyond"):
            client.request("GET", path)
            answer = client.getresponse()
            assert answer.read() == b"ab"
            kept.append(answer.getheader("Connection"))
        assert kept == ["keep-alive", "keep-alive", "close"]


linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has filters for sockets")


def accepted(listener: socket.socket) -> list[socket.socket]:
    """Accept the backlog."""
    listener.setblocking(False)
    clients = []
    with suppress(BlockingIOError):
        while True:
            clients.append(listener.accept()[0])
    return clients


@linux
def test_stop_accepting_keeps_accepted_connections():
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    with socket.create_connection(address) as waiting:
        stop_accepting([listener])
        with pytest.raises(TimeoutError):  # neither answered nor refused: the client tries again
            socket.create_connection(address, timeout=0.2)
        (taken,) = accepted(listener)
        listener.close()
        waiting.sendall(b"a request")
        assert taken.recv(100) == b"a request"
        taken.sendall(b"an answer")
        assert waiting.recv(100) == b"an answer"
        taken.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=5)


def ask(address: tuple[str, int], ends: Counter[str]) -> None:
    """Connect and ask, until the connection is refused."""
    while True:
        try:
            with socket.create_connection(address, timeout=10) as client:
                ends["in"] += 1
                client.sendall(b"?")
                ends["lost"] += client.recv(1) != b"!"
        except ConnectionRefusedError:
            return
        except OSError:
            ends["lost"] += 1


def answer(clients: list[socket.socket]) -> None:
    for client in clients:
        with client:
            client.settimeout(10)
            client.recv(1)
            client.sendall(b"!")


@linux
def test_stop_accepting_loses_no_connection():
    for _ in range(3):
        listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        ends: Counter[str] = Counter()
        crowd = [
            threading.Thread(target=ask, args=(listener.getsockname(), ends)) for _ in range(8)
        ]
        for client in crowd:
            client.start()
        while ends["in"] <= 50:
            answer(accepted(listener))
        stop_accepting([listener])
        answer(accepted(listener))
        listener.close()
        for client in crowd:
            client.join()
        assert not ends["lost"], ends


def test_stop_accepting_does_nothing_without_socket_filters():
    listener = socket.socket()
    listener.close()
    stop_accepting([listener])
