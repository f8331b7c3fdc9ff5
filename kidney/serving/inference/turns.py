"""Who computes now: a few at a time, and the others in the order in which they came."""

import math
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class LateError(Exception):
    """The time was up before it was one's turn."""


class Turns:
    """A semaphore that is fair: who takes turn after turn queues up behind those who wait.

    Args:
        at_once: how many have a turn at a time.
    """

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._lock = threading.Lock()
        self._waiting: deque[threading.Event] = deque()

    @contextmanager
    def turn(self, until: float = math.inf) -> Iterator[None]:
        """Wait for a turn, and give it back at the end of the block.

        Args:
            until: by `time.monotonic`; who has no turn by then gets none.

        Raises:
            LateError: it is later than that.
        """
        self._take(until)
        try:
            yield
        finally:
            self._give()

    def _take(self, until: float) -> None:
        left = until - time.monotonic()
        if left <= 0:
            raise LateError
        with self._lock:
            if self._free:  # and then nobody waits
                self._free -= 1
                return
            mine = threading.Event()
            self._waiting.append(mine)
        if mine.wait(None if math.isinf(left) else left):
            return
        with self._lock:
            if not mine.is_set():
                self._waiting.remove(mine)
                raise LateError
        self._give()  # it was handed over in the very last moment
        raise LateError

    def _give(self) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._free += 1
