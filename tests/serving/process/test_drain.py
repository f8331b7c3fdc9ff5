import socket
import sys
import threading
from collections import Counter
from contextlib import suppress

import pytest

from kidney.serving.process.drain import shut

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has filters for sockets")


def accepted(listener: socket.socket) -> list[socket.socket]:
    """Take all that wait."""
    listener.setblocking(False)
    clients = []
    with suppress(BlockingIOError):
        while True:
            clients.append(listener.accept()[0])
    return clients


@linux
def test_who_is_in_stays_and_who_comes_finds_nobody():
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    with socket.create_connection(address) as waiting:
        shut([listener])
        with pytest.raises(TimeoutError):  # it is not answered, and not refused: it may try again
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


def knock(address: tuple[str, int], ends: Counter[str]) -> None:
    """Come in and ask, until nobody is there."""
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
def test_nobody_is_let_in_and_then_forgotten():
    for _ in range(3):
        listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        ends: Counter[str] = Counter()
        crowd = [
            threading.Thread(target=knock, args=(listener.getsockname(), ends)) for _ in range(8)
        ]
        for client in crowd:
            client.start()
        while ends["in"] <= 50:
            answer(accepted(listener))
        shut([listener])
        answer(accepted(listener))
        listener.close()
        for client in crowd:
            client.join()
        assert not ends["lost"], ends


def test_a_system_without_filters_is_no_fault():
    listener = socket.socket()
    listener.close()
    shut([listener])
