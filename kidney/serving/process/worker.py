"""gunicorn's thread worker, mended so that no request is lost and no client holds up the others.

gunicorn 26.2 with gthread loses 15 to 64 requests in a restart under 16 to 64 clients; waitress and
uvicorn lose some too, and granian, which loses none, hung in a restart and has no hook for dead
workers. Each part here prevents one loss. What happens without it:

accept, _read_head       A connection takes a thread before its head is whole: the browsers' spare
                         connections, and ten clients a second that send one byte each, starve the
                         requests.
_Body                    So does one whose upload trickles: here it gets a 408 at the deadline.
                         Also, gunicorn reads a body by the kilobyte.
_keepalive_after         The unread rest of a refused body is taken for the next request.
handle (its loop)        A pipelined request, read with the end of the one before, is never seen.
linger                   Closing while the client still sends is a TCP reset, which overtakes the
                         413 or 503: half-close first (RFC 9112, 9.6). The main loop waits for
                         none of these clients.
handle_request           Keep-alive is announced in a response, then shutdown closes the connection
and finish_request       under the client's next request: what was announced is kept.
stop_accepting           The kernel completes handshakes until the listener closes, and resets those
                         that nobody accepted. A filter drops new SYNs first; such a client tries
                         again a second later, at the next server.
set_accept_enabled       The backlog from before is accepted, then the listener closes.
is_parent_alive          Without its master a worker would accept until its timeout.

Shutdown, in order: the master calls `stop_accepting` and signals the workers. Each accepts the
backlog, closes its listener, answers what has begun within its deadline, gives idle connections
DRAIN_SECONDS for a last request, and ends.
"""

import contextlib
import ctypes
import io
import math
import selectors
import socket
import struct
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
_LONGEST_HEAD = 1 << 16  # bytes; of all its fields together
DRAIN_SECONDS = 2.0  # for idle connections at shutdown
LINGER_SECONDS = 5.0  # for a client to read its response and close
_MOST_ACCEPTED = 64  # connections in a row, before others are served again
_BLOCK = 1 << 16  # bytes
_LEFTOVER = 1 << 20  # bytes of an unread body that are read away to keep the connection
_LEFTOVER_SECONDS = 2.0

_SO_ATTACH_FILTER = 26  # asm-generic/socket.h; Python has no name for it
_HANDSHAKE_SECONDS = 0.1  # for handshakes that are under way; as much as a round trip takes
_FLAGS, _SYN, _ACK = 13, 0x02, 0x10  # byte of a TCP header, and bits of it
_LOAD, _AND, _EQUAL, _RETURN = 0x30, 0x54, 0x15, 0x06
_DROP_SYN = (  # classic BPF: code, steps where it is equal, steps where not, operand
    (_LOAD, 0, 0, _FLAGS),
    (_AND, 0, 0, _SYN | _ACK),
    (_EQUAL, 0, 1, _SYN),
    (_RETURN, 0, 0, 0),  # bytes of the packet that pass
    (_RETURN, 0, 0, 0xFFFFFFFF),
)

util.write_error = refuse_unread  # gunicorn's own is HTML and quotes the request


def stop_accepting(listeners: list[socket.socket]) -> None:
    """Drop new connections and keep those under way, for all processes that share the listeners.

    Where the system has no socket filters (other than Linux), nothing happens.

    https://www.kernel.org/doc/html/latest/networking/filter.html
    """
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in _DROP_SYN))
    program = struct.pack("HL", len(_DROP_SYN), ctypes.addressof(code))
    for listener in listeners:
        with contextlib.suppress(OSError):
            listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    time.sleep(_HANDSHAKE_SECONDS)


class _Connection(TConn):  # type: ignore[misc]
    """One client; the worker decides how it is closed."""

    def __init__(self, worker: "Worker", *arguments: Any) -> None:
        super().__init__(*arguments)
        self.worker = worker
        self.head = b""  # of the next request, as far as it has come

    @property
    def has_head(self) -> bool:
        """Whether the next head is whole; empty lines before it are passed over (RFC 9112, 2.2)."""
        return b"\r\n\r\n" in self.head.lstrip(b"\r\n")

    def close(self, graceful: bool = False) -> None:
        if graceful:
            self.worker.linger(self)
        else:
            super().close()


class _Body(io.RawIOBase):
    """The body of one request. gunicorn's own reads a kilobyte at a time.

    Args:
        reader: gunicorn's, which knows where the body ends.
        until: by `time.monotonic`; a request that is not complete by then gets a 408.
    """

    def __init__(self, reader: Any, until: float) -> None:
        self._reader = reader
        self._until = until

    @property
    def left(self) -> float:
        """Bytes that have not been read; infinity: unknown."""
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
        self._read_until: dict[_Connection, float] = {}  # deadline of its next read
        self._heads: dict[_Connection, float] = {}  # whose heads have begun; deadline of the rest
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
        self._await_request(connection, self.pending_conns, self.cfg.keepalive)
        return True

    def _await_request(
        self, connection: _Connection, waiting: deque[_Connection], seconds: float
    ) -> None:
        """Give a connection a thread once its next head is whole; it begins within the seconds."""
        connection.sock.setblocking(False)
        if connection.head:
            self._heads[connection] = time.monotonic() + min(HEAD_SECONDS, self.seconds)
        else:
            connection.timeout = time.monotonic() + seconds
            waiting.append(connection)
        callback = partial(self._read_head, connection, waiting)
        self.poller.register(connection.sock, selectors.EVENT_READ, callback)

    def _read_head(
        self, connection: _Connection, waiting: deque[_Connection], client: socket.socket
    ) -> None:
        try:
            data = client.recv(_BLOCK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if connection not in self._heads:
            waiting.remove(connection)
            self._heads[connection] = time.monotonic() + min(HEAD_SECONDS, self.seconds)
        connection.head += data
        if connection.has_head:
            self.poller.unregister(client)
            del self._heads[connection]
            connection.data_ready = True
            connection.init()
            connection.parser.unreader.unread(connection.head)
            connection.head = b""
            self.enqueue_req(connection)
        elif not data:
            self._end_head(connection)
        elif len(connection.head) > _LONGEST_HEAD:
            self._end_head(connection, (431, "Request Header Fields Too Large"))

    def _end_head(self, connection: _Connection, refusal: tuple[int, str] | None = None) -> None:
        """Close a connection whose head will never be whole."""
        del self._heads[connection]
        self.poller.unregister(connection.sock)
        self.nr_conns -= 1
        if refusal:
            with contextlib.suppress(OSError):  # it may be gone
                refuse_unread(connection.sock, *refusal, "")
        connection.close(graceful=True)

    def _end_slow_heads(self, now: float) -> None:
        for connection in [one for one, until in self._heads.items() if until < now]:
            self._end_head(connection, (408, "Request Timeout"))

    def set_accept_enabled(self, enabled: bool) -> None:
        """At shutdown accept the backlog; later clients are refused at once."""
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
        """Answer one request whose head is there, and those that are pipelined."""
        while True:
            self._read_until[connection] = time.monotonic() + min(HEAD_SECONDS, self.seconds)
            try:
                kept = super().handle(connection)
            finally:
                del self._read_until[connection]
            if kept is not True:
                return kept
            # What was read beyond the end of a request would be waited for in vain at the socket.
            connection.head = connection.parser.unreader.take_buffered().lstrip(b"\r\n")
            if not connection.has_head:
                return True
            connection.parser.unreader.unread(connection.head)
            connection.head = b""

    def handle_request(self, req: Any, conn: _Connection) -> Any:
        """Answer a request whose body is read in large blocks and not beyond its deadline."""
        until = self._read_until[conn] = time.monotonic() + self.seconds
        body = _Body(req.body.reader, until)
        req.body = io.BufferedReader(body, _BLOCK)
        closes = req.should_close
        # Called for the head of the response and at its end: what is announced is done.
        req.should_close = cache(lambda: closes() or not self.alive or body.left > _LEFTOVER)
        try:
            return super().handle_request(req, conn)
        finally:
            del req.should_close  # it would keep the request in a cycle

    def _keepalive_after(self, conn: _Connection, keepalive: bool) -> bool:
        deadline = time.monotonic() + _LEFTOVER_SECONDS
        try:
            return keepalive and bool(conn.parser.finish_body(deadline, _LEFTOVER + 1))
        except RequestTimeout:
            return False

    def finish_request(self, conn: _Connection, fs: Future[Any]) -> None:
        """Keep a connection whose response announced keep-alive, at shutdown too."""
        if fs.cancelled() or fs.exception() or fs.result() is not True:
            super().finish_request(conn, fs)
            return
        seconds = self.cfg.keepalive if self.alive else DRAIN_SECONDS
        self._await_request(conn, self.keepalived_conns, seconds)

    def is_parent_alive(self) -> bool:
        """Shut down when the master is gone, too."""
        found = bool(super().is_parent_alive())
        self.alive = self.alive and found
        return found

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Check the timeouts of connections every second, and more often at shutdown."""
        super().wait_for_and_dispatch_events(min(timeout, 1.0 if self.alive else 0.1))
        now = time.monotonic()
        for connection, until in tuple(self._read_until.items()):
            if now > until:
                _stop_reading(connection.sock)
        self._end_slow_heads(now)
        while self._lingering and self._lingering[0].timeout < now:
            self._close_lingering(self._lingering[0])

    def linger(self, connection: _Connection) -> None:
        """Close in two steps: a client that still sends would else lose its response to a reset.

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
        self._close_lingering(connection)

    def _close_lingering(self, connection: _Connection) -> None:
        self._lingering.remove(connection)
        self.poller.unregister(connection.sock)
        self.nr_conns -= 1
        connection.close()


def _stop_reading(client: socket.socket) -> None:
    """Let the thread that waits for more of a request read its end."""
    with contextlib.suppress(OSError):  # it is closed already
        client.shutdown(socket.SHUT_RD)
