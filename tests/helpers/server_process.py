"""A real server in a process of its own, and clients of it."""

import http.client
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[2]
SECONDS = 180  # a guard against a hang, not a measure: machines are busy


@dataclass
class Server:
    """A running serve.py.

    Attributes:
        process: its master.
        address: HOST:PORT.
        log: a file; a pipe that nobody reads would fill up.
    """

    process: subprocess.Popen[str]
    address: str
    log: IO[str]

    def workers(self) -> set[int]:
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return {int(child) for child in children}

    def stop(self) -> str:
        """End it as an orchestrator does; return its log."""
        self.process.send_signal(signal.SIGTERM)
        return self.ended()

    def ended(self) -> str:
        """Wait for its end; return its log."""
        self.process.wait(timeout=SECONDS)
        self.log.seek(0)
        return self.log.read()

    def client(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.address, timeout=SECONDS)

    def metric(self, name: str) -> float:
        """Return the value of a metric; 0: there is none yet."""
        rows = [row.split() for row in self.get("/metrics").decode().splitlines()]
        return sum(float(row[1]) for row in rows if row[0] == name)

    def in_flight(self) -> int:
        """Return how many requests are not answered yet, besides the one that asks."""
        return int(self.metric("kidney_requests_in_flight")) - 1

    def refuses(self) -> bool:
        """Tell whether nobody listens at the address."""
        try:
            socket.create_connection(self.client_address(), timeout=0.1).close()
        except ConnectionRefusedError:
            return True
        except OSError:  # no answer yet
            pass
        return False

    def client_address(self) -> tuple[str, int]:
        host, port = self.address.rsplit(":", 1)
        return host, int(port)

    def get_json(self, path: str) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.get(path))
        return found

    def get(self, path: str) -> bytes:
        client = self.client()
        client.request("GET", path)
        answer = client.getresponse()
        body = answer.read()
        client.close()
        assert answer.status == 200, body
        return body


@contextmanager
def serving(model: Path, *arguments: object, **settings: object) -> Iterator[Server]:
    """Serve `model` on a free port; settings are names of Settings."""
    environment = {name: value for name, value in os.environ.items() if "KIDNEY_" not in name}
    wanted = {"auth": "off", "threads": 1, "rate_limit": "off", **settings}
    environment |= {f"KIDNEY_{name.upper()}": str(value) for name, value in wanted.items()}
    log = tempfile.TemporaryFile("w+")  # noqa: SIM115, closed below
    process = subprocess.Popen(
        [sys.executable, "serve.py", "--port", "0", "--model", str(model), *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    )
    try:
        assert process.stdout
        assert select.select([process.stdout], [], [], SECONDS)[0], "the server did not start"
        line = process.stdout.readline()
        found = re.fullmatch(r"Serving on http://(\S+)\n", line)
        assert found, line
        server = Server(process, found[1], log)
        server.get_json("/healthz")
        yield server
    finally:
        if process.poll() is None:
            for pid in (process.pid, *Server(process, "", log).workers()):
                os.kill(pid, signal.SIGKILL)
        process.communicate()
        log.close()


def form(*files: bytes) -> tuple[bytes, dict[str, str]]:
    """Return body and headers of a request with these files."""
    boundary = uuid.uuid4().hex
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{n}.png"\r\n'
        "Content-Type: image/png\r\n\r\n".encode()
        + data
        + b"\r\n"
        for n, data in enumerate(files)
    ]
    body = b"".join(parts) + f"--{boundary}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def post(
    client: http.client.HTTPConnection, body: bytes, headers: dict[str, str]
) -> tuple[int, bytes, http.client.HTTPMessage]:
    """Ask for a prediction; return status, body and headers."""
    client.request("POST", "/api/v1/predictions", body, headers)
    answer = client.getresponse()
    return answer.status, answer.read(), answer.headers


def started(address: str, body: bytes, headers: dict[str, str], sent: int) -> socket.socket:
    """Send a request but for what comes after `sent` bytes of its body."""
    host, port = address.rsplit(":", 1)
    client = socket.create_connection((host, int(port)), timeout=SECONDS)
    lines = [f"{name}: {value}" for name, value in headers.items()]
    head = "\r\n".join(
        ["POST /api/v1/predictions HTTP/1.1", f"Host: {address}", f"Content-Length: {len(body)}",
         *lines, "", ""]
    )  # fmt: skip
    client.sendall(head.encode() + body[:sent])
    return client


def answered(client: socket.socket) -> tuple[int, bytes]:
    """Read the answer of a connection that was `started`."""
    answer = http.client.HTTPResponse(client)
    answer.begin()
    return answer.status, answer.read()


def wait_until(what: Callable[[], object], seconds: float = SECONDS) -> None:
    """Wait until `what()` is true; fail after `seconds`."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "the condition never came true"
        time.sleep(0.02)
