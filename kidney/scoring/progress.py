"""How far a run is, on stderr."""

import sys
import time
from collections import Counter
from typing import TextIO

from kidney.scoring.results import SLICES

_EVERY_SECONDS = 30.0  # where nobody watches: a log


class Progress:
    """Counts what is done and says so.

    Args:
        stream: where to; a line that is written over where it is a terminal.

    Attributes:
        totals: slices, and files of each kind of bad.
        kept: slices that a run before has scored.
    """

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream = stream
        self._said = time.monotonic()
        self.totals: Counter[str] = Counter()
        self.kept = 0
        self._scored = 0
        self._began = float("inf")
        self._ended = 0.0

    def keep(self, counts: Counter[str]) -> None:
        """Note a chunk that a run before has scored."""
        self.totals += counts
        self.kept += counts[SLICES]

    def add(self, counts: Counter[str], began: float, ended: float) -> None:
        """Note a chunk that was scored from `began` to `ended`, in seconds since 1970."""
        self.totals += counts
        self._scored += counts[SLICES]
        self._began, self._ended = min(self._began, began), max(self._ended, ended)
        now = time.monotonic()
        if self._stream.isatty() or now - self._said > _EVERY_SECONDS:
            self._said = now
            start, end = ("\r", "") if self._stream.isatty() else ("", "\n")
            print(f"{start}{self}", end=end, file=self._stream, flush=True)

    @property
    def rate(self) -> float:
        """Slices a second, from the first file that was begun to the last one that was done."""
        return self._scored / max(self._ended - self._began, 1e-9) if self._scored else 0.0

    @property
    def bad(self) -> int:
        """Files that gave no slice."""
        return self.totals.total() - self.totals[SLICES]

    def __str__(self) -> str:
        kept = f" ({self.kept:,} of them before)" if self.kept else ""
        slices = f"{self.totals[SLICES]:,} slices{kept}"
        return f"{slices}, bad files: {self.bad:,}, {self.rate:.1f}/s"
