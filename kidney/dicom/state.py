"""What was done with each series, in one sqlite file: UIDs, counts, times and kinds of error."""

import hashlib
import re
import sqlite3
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

WAITING, DONE, SKIPPED, FAILED = STATES = ("waiting", "done", "skipped", "failed")

_TABLE = """
CREATE TABLE IF NOT EXISTS series (
    uid TEXT PRIMARY KEY, study TEXT NOT NULL, slices INTEGER NOT NULL, state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, next_time REAL NOT NULL, error TEXT NOT NULL DEFAULT '',
    result TEXT NOT NULL DEFAULT ''
) STRICT
"""
_UID = re.compile(r"[0-9.]{1,64}")


@dataclass(frozen=True)
class SeriesState:
    """What is known of one series.

    Attributes:
        uid: SeriesInstanceUID.
        study: StudyInstanceUID.
        slices: how many instances the archive had when it was last asked.
        state: one of STATES.
        attempts: how often it failed since it last changed.
        next_time: seconds since 1970; before that, nothing is tried.
        error: kind of the last error, empty where there is none.
        result: SOPInstanceUID of its report, empty where there is none.
    """

    uid: str
    study: str
    slices: int
    state: str
    attempts: int
    next_time: float
    error: str
    result: str


def is_uid(text: str) -> bool:
    """Tell whether the text is made of digits and dots: some devices put a name into a UID."""
    return _UID.fullmatch(text) is not None


def short_uid(text: str) -> str:
    """Return a UID that may be logged: the text itself, or a hash of what is none."""
    return text if is_uid(text) else "no-uid-" + hashlib.sha256(text.encode()).hexdigest()[:12]


class State:
    """The table of all series. Several processes may use one file.

    Args:
        path: made where there is none.
        clock: returns seconds since 1970.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._clock = clock
        self._sqlite = sqlite3.connect(path, timeout=30, isolation_level=None)
        self._sqlite.execute("PRAGMA journal_mode=WAL")
        self._sqlite.execute(_TABLE)

    def close(self) -> None:
        """Close the file."""
        self._sqlite.close()

    def note_counts(self, series: Iterable[tuple[str, str, int]], stable_seconds: float) -> None:
        """Note UID, study and slice count of series; where the count changed, the wait restarts."""
        later = self._clock() + stable_seconds
        self._sqlite.execute("BEGIN IMMEDIATE")
        self._sqlite.executemany(
            "INSERT INTO series (uid, study, slices, state, next_time) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (uid) DO UPDATE SET study = excluded.study, slices = excluded.slices, "
            "state = excluded.state, attempts = 0, error = '', next_time = excluded.next_time "
            "WHERE slices != excluded.slices",
            [(*one, WAITING, later) for one in series],
        )
        self._sqlite.execute("COMMIT")

    def due(self) -> list[SeriesState]:
        """Return the series whose time has come, the longest waiting first."""
        return self._select("WHERE state = ? AND next_time <= ? ORDER BY next_time", WAITING,
                            self._clock())  # fmt: skip

    def troubled(self) -> list[SeriesState]:
        """Return the series that failed, or whose next attempt follows a failed one."""
        return self._select("WHERE error != '' AND state != ? ORDER BY uid", SKIPPED)

    def finish(self, series: SeriesState, state: str, error: str = "", result: str = "") -> None:
        """Note the end of the work on a series, unless its slices changed meanwhile."""
        self._update(series, "state = ?, error = ?, result = ?", state, error, result)

    def postpone(self, series: SeriesState, error: str, seconds: float) -> None:
        """Note a failed attempt; the next one may begin after so many seconds."""
        later = self._clock() + seconds
        self._update(
            series, "attempts = ?, error = ?, next_time = ?", series.attempts + 1, error, later
        )

    def retry(self, uid: str | None) -> int:
        """Let a series, or with None all that failed, be tried at once; return how many."""
        chosen, values = ("uid = ?", [uid]) if uid else ("error != '' AND state != ?", [SKIPPED])
        return self._sqlite.execute(
            f"UPDATE series SET state = ?, attempts = 0, error = '', next_time = 0 WHERE {chosen}",
            [WAITING, *values],
        ).rowcount

    def counts(self) -> dict[str, int]:
        """Return how many series are in each state."""
        rows = self._sqlite.execute("SELECT state, count(*) FROM series GROUP BY state")
        return dict.fromkeys(STATES, 0) | dict(rows.fetchall())

    def _select(self, where: str, *values: object) -> list[SeriesState]:
        rows = self._sqlite.execute(
            "SELECT uid, study, slices, state, attempts, next_time, error, result FROM series "
            + where,
            values,
        )
        return [SeriesState(*row) for row in rows]

    def _update(self, series: SeriesState, what: str, *values: object) -> None:
        self._sqlite.execute(
            f"UPDATE series SET {what} WHERE uid = ? AND slices = ?",
            [*values, series.uid, series.slices],
        )
