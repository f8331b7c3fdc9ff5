"""docs/benchmarks.md: what was measured, on which machine and with which versions."""

import platform
import shlex
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from loky import cpu_count

from benchmarks.timing import Row

LIBRARIES = (
    "torch",
    "onnxruntime",
    "pytorch-lightning",
    "timm",
    "numpy",
    "flask",
    "gunicorn",
    "ray",
)
HEADINGS = ("station", "ours", "against", "ratio")


def table(rows: Iterable[tuple[str, Row]]) -> str:
    """Return a Markdown table of (station, row)."""
    lines = [HEADINGS, ("---",) * len(HEADINGS)]
    lines += [(name, row.part, row.against, f"{row.ratio:.2f}") for name, row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def page(rows: Iterable[tuple[str, Row]], commit: str, arguments: Iterable[str]) -> str:
    """Return the page.

    Args:
        rows: with the name of the station each was measured at.
        commit: of the code that was measured.
        arguments: of the command.
    """
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    given = shlex.join(arguments)
    told = f"here with the arguments `{given}`" if given else "without arguments"
    return f"""# Benchmarks

Written by `make bench`, {told}.
A ratio above 1 means that ours is the faster one, or the smaller one where it is about memory or
size. Both sides of a ratio are measured in one run, in turns: times of this machine say little
about yours, and other work on it moves them.

{table(rows)}
Code {commit}; {processor()}, {cpu_count()} cores, {memory_gb():.0f} GB; {platform.system()},
Python {platform.python_version()}; {versions}.
"""


def processor() -> str:
    """Return what the system calls its processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def memory_gb() -> float:
    """Return how much memory the machine has."""
    kilobytes = Path("/proc/meminfo").read_text("utf-8").split(maxsplit=2)[1]
    return int(kilobytes) / 2**20
