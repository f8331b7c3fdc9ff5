"""Wait for what a process does, not for seconds: a busy machine only takes longer."""

import select
import subprocess
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
GUARD = 1200.0  # seconds after which a process that does nothing fails the test


def wait_for(what: Callable[[], T], process: subprocess.Popen[str], guard: float = GUARD) -> T:
    """Wait until `what()` is true and return it; fail where the process ends before."""
    end = time.monotonic() + guard
    while True:
        ended = process.poll() is not None  # before the last look
        if found := what():
            return found
        if ended:
            output = process.communicate()[0]
            raise AssertionError(f"{process.args} ended with {process.returncode}:\n{output}")
        assert time.monotonic() < end, f"{process.args} still runs after {guard} s"
        time.sleep(0.02)


def first_line(process: subprocess.Popen[str], guard: float = GUARD) -> str:
    """Return the first line that a process prints; fail where it ends without one."""
    assert process.stdout
    assert select.select([process.stdout], [], [], guard)[0], f"{process.args} printed nothing"
    line = process.stdout.readline()
    assert line, f"{process.args} ended without a line"
    return line.rstrip("\n")


def address_of(process: subprocess.Popen[str]) -> str:
    """Return http://HOST:PORT of a server that has just been started."""
    line = first_line(process)
    assert line.startswith("Serving on "), line
    return line.removeprefix("Serving on ")
