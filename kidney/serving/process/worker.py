"""gunicorn's thread worker, made to hang for nobody and to lose nothing when it ends.

As it comes (26.2), a connection that sends nothing takes one of the threads for five seconds, a
request that trickles in takes one for good, the main loop waits for each client that is slow to
close, and what the system has accepted but no worker has is reset on SIGTERM. Each method here
mends one of these.
"""

import contextlib
import io
import math
import selectors
import socket
import time
from collections import deque
from concurrent.futures import Future
from functools import cache, partial
from typing import Any

from gunicorn import util
from gunicorn.workers.gthread import TConn, ThreadWorker
from werkzeug.exceptions import RequestTimeout

from kidney.serving.problems import refuse_unread

HEAD_SECONDS = 5.0  # for the head of a request, once it has begun
DRAIN_SECONDS = 2.0  # for idle connections, once the worker is to end
LINGER_SECONDS = 5.0  # for a client to read its answer and close
_MOST_ACCEPTED = 64  # connections in a row, before others are looked at again
_BLOCK = 1 << 16  # bytes
_LEFTOVER = 1 << 20  # bytes of a body that nobody wanted, read away to keep the connection
_LEFTOVER_SECONDS = 2.0


util.write_error = refuse_unread  # gunicorn's own is HTML and quotes the request


class _Connection(TConn):  # type: ignore[misc]
    """One client. Its end is the worker's business."""

    def __init__(self, worker: "Worker", *arguments: Any) -> None:
        super().__init__(*arguments)
        self.worker = worker

    def close(self, graceful: bool = False) -> None:
        if graceful:
            self.worker.linger(self)
        else:
            super().close()


class _Body(io.RawIOBase):
    """The body of one request. gunicorn's own reads a kilobyte at a time.

    Args:
        reader: gunicorn's, which knows where the body ends.
        until: by `time.monotonic`; who waits for more after that gets a 408.
    """

    def __init__(self, reader: Any, until: float) -> None:
        self._reader = reader
        self._until = until

    @property
    def left(self) -> float:
        """Bytes that have not been read; infinity: nobody knows."""
        return float(getattr(self._reader, "length", math.inf))

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._reader.read(len(buffer))
        if not data and time.monotonic() >= self._until:
            raise RequestTimeout
        buffer[: len(data)] = data
        return len(data)


class Worker(ThreadWorker):  # type: ignore[misc]
    """A pool of threads for requests; `seconds` is how long one may take to arrive."""

    seconds = 30.0
    alive: bool

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._handled: dict[_Connection, float] = {}  # until when, by time.monotonic
        self._lingering: deque[_Connection] = deque()

    def accept(self, listener: socket.socket) -> None:
        """Take new connections; none gets a thread before it has sent something."""
        for _ in range(_MOST_ACCEPTED):
            if not self._accept_one(listener):
                return

    def _accept_one(self, listener: socket.socket) -> bool:
        try:
            client, address = listener.accept()
        except OSError:  # there is none, or no file descriptor left for it: later, then
            return False
        self.nr_conns += 1
        connection = _Connection(self, self.cfg, client, address, listener.getsockname())
        self._wait_for(connection, self.cfg.keepalive)
        return True

    def _wait_for(self, connection: _Connection, seconds: float) -> None:
        """Give a connection a thread as soon as it sends something, for so long."""
        connection.sock.setblocking(False)
        connection.timeout = time.monotonic() + seconds
        self.pending_conns.append(connection)
        callback = partial(self.on_pending_socket_readable, connection)
        self.poller.register(connection.sock, selectors.EVENT_READ, callback)

    def set_accept_enabled(self, enabled: bool) -> None:
        """At the end, take what still waits at the door, and let the next be refused at once."""
        super().set_accept_enabled(enabled)
        if not enabled and not self.alive:
            for listener in self.sockets:
                while self._accept_one(listener):
                    pass
                listener.close()
            soon = time.monotonic() + DRAIN_SECONDS
            for connection in (*self.pending_conns, *self.keepalived_conns):
                connection.timeout = min(connection.timeout, soon)

    def handle(self, connection: _Connection) -> Any:
        """Answer one request that has begun to come, and those that came in with its end."""
        while True:
            self._handled[connection] = time.monotonic() + min(HEAD_SECONDS, self.seconds)
            try:
                kept = super().handle(connection)
            finally:
                del self._handled[connection]
            # What was read beyond the end of a request would be waited for in vain at the socket.
            if kept is not True or not connection.parser.unreader.buf.getvalue():
                return kept

    def handle_request(self, req: Any, conn: _Connection) -> Any:
        """Answer a request whose body is read in large pieces and not after its time."""
        until = self._handled[conn] = time.monotonic() + self.seconds
        body = _Body(req.body.reader, until)
        req.body = io.BufferedReader(body, _BLOCK)
        closes = req.should_close
        # Asked for the head of the answer and at its end: what was announced there is done here.
        req.should_close = cache(lambda: closes() or not self.alive or body.left > _LEFTOVER)
        try:
            return super().handle_request(req, conn)
        finally:
            del req.should_close  # it is about this answer, and would keep the request in a cycle

    def _keepalive_after(self, conn: _Connection, keepalive: bool) -> bool:
        deadline = time.monotonic() + _LEFTOVER_SECONDS
        try:
            return keepalive and bool(conn.parser.finish_body(deadline, _LEFTOVER + 1))
        except RequestTimeout:
            return False

    def finish_request(self, conn: _Connection, fs: Future[Any]) -> None:
        """Keep a connection that was told it would be kept, whenever the end comes."""
        if fs.cancelled() or fs.exception() or fs.result() is not True:
            super().finish_request(conn, fs)
            return
        conn.sock.setblocking(False)
        conn.timeout = time.monotonic() + (self.cfg.keepalive if self.alive else DRAIN_SECONDS)
        self.keepalived_conns.append(conn)
        callback = partial(self.on_client_socket_readable, conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, callback)

    def is_parent_alive(self) -> bool:
        """Without the master it is the end, too."""
        found = bool(super().is_parent_alive())
        self.alive = self.alive and found
        return found

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Look at the clocks of connections every second, and more often at the end."""
        super().wait_for_and_dispatch_events(min(timeout, 1.0 if self.alive else 0.1))
        now = time.monotonic()
        for connection, until in tuple(self._handled.items()):
            if now > until:
                _stop_reading(connection.sock)
        while self._lingering and self._lingering[0].timeout < now:
            self._let_go(self._lingering[0])

    def linger(self, connection: _Connection) -> None:
        """Close in two steps: a client that still sends would else lose its answer to a reset.

        https://www.rfc-editor.org/rfc/rfc9112#section-9.6
        """
        try:
            connection.sock.shutdown(socket.SHUT_WR)
        except OSError:  # the client was faster
            connection.close()
            return
        connection.sock.setblocking(False)
        connection.timeout = time.monotonic() + LINGER_SECONDS
        self.nr_conns += 1
        self._lingering.append(connection)
        callback = partial(self._discard, connection)
        self.poller.register(connection.sock, selectors.EVENT_READ, callback)

    def _discard(self, connection: _Connection, client: socket.socket) -> None:
        try:
            if client.recv(_BLOCK):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._let_go(connection)

    def _let_go(self, connection: _Connection) -> None:
        self._lingering.remove(connection)
        self.poller.unregister(connection.sock)
        self.nr_conns -= 1
        connection.close()


def _stop_reading(client: socket.socket) -> None:
    """Let whoever waits for more of a request find its end."""
    with contextlib.suppress(OSError):  # it is closed already
        client.shutdown(socket.SHUT_RD)
