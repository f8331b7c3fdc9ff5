"""A web server of this process that serves one file and fails as it is told to."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Web:
    """What is served, what is wrong with it, and what was asked."""

    data: bytes
    statuses: list[int] = field(default_factory=list)  # answers before the file
    cuts: list[int] = field(default_factory=list)  # bytes before the connection is cut, per request
    length: int | None = None  # a wrong Content-Length
    how: str = "length"  # how the end is told: length, chunked, close
    beside: dict[str, bytes] | None = None  # path -> what lies there; None: the file, everywhere
    redirects: dict[str, str] = field(default_factory=dict)  # path -> Location
    pause: float = 0.0  # seconds after each block
    block: int = 1 << 14  # bytes
    asked: list[dict[str, str]] = field(default_factory=list)  # headers, and the path as "path"
    url: str = ""


@contextmanager
def serving(data: bytes, **settings: Any) -> Iterator[Web]:
    """Serve `data` at `web.url` and, unless `beside` is given, at every path beside it."""
    web = Web(data, **settings)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(web))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    web.url = f"http://127.0.0.1:{server.server_port}/set.zip"
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(web: Web) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:  # the name http.server looks for
            web.asked.append(dict(self.headers.items()) | {"path": self.path})
            if self.path in web.redirects:
                self.answer(302, b"", Location=web.redirects[self.path])
            elif web.beside is not None and self.path != "/set.zip":
                found = web.beside.get(self.path)
                self.answer(404 if found is None else 200, found or b"sorry")
            elif web.statuses and (status := web.statuses.pop(0)) != 200:
                self.answer(status, b"sorry")
            else:
                self.send_file()

        def answer(self, status: int, body: bytes, **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def send_file(self) -> None:
            data, size = web.data, len(web.data)
            self.send_response(200)
            if web.how == "length":
                length = size if web.length is None else web.length
                self.send_header("Content-Length", str(length))
            elif web.how == "chunked":
                self.send_header("Transfer-Encoding", "chunked")
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True
            cut = web.cuts.pop(0) if web.cuts else size
            end = min(size, cut)
            for start in range(0, end, web.block):
                block = data[start : min(end, start + web.block)]
                chunked = web.how == "chunked"
                self.wfile.write(b"%x\r\n%s\r\n" % (len(block), block) if chunked else block)
                time.sleep(web.pause)
            if web.how == "chunked" and end == size:
                self.wfile.write(b"0\r\n\r\n")

        def handle(self) -> None:
            try:
                super().handle()
            except ConnectionError:  # the client was killed
                self.close_connection = True

    return Handler
