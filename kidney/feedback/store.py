"""What a server keeps of results and of what readers say about them: one append-only sqlite file.

It holds no pixels and nothing that names a patient: a slice is known by the SHA-256 of its file and
of its grey pixels, which a data set's manifest holds too; a reader by the name of an API key.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from kidney.errors import ConfigError

_BUSY_SECONDS = 5.0  # workers write to one file
_TABLES = ("results", "slices", "feedback")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS results (
    id TEXT, series INTEGER, at TEXT NOT NULL, reader TEXT NOT NULL, model TEXT NOT NULL,
    label TEXT NOT NULL, decision TEXT NOT NULL, PRIMARY KEY (id, series));
CREATE INDEX IF NOT EXISTS results_by_reader ON results (reader, at);
CREATE TABLE IF NOT EXISTS slices (
    id TEXT, series INTEGER, slice INTEGER, file_sha256 TEXT NOT NULL, pixel_sha256 TEXT NOT NULL,
    PRIMARY KEY (id, series, slice));
CREATE TABLE IF NOT EXISTS feedback (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL, series INTEGER NOT NULL, at TEXT NOT NULL,
    reader TEXT NOT NULL, agree INTEGER NOT NULL, label TEXT NOT NULL, slices TEXT NOT NULL);
""" + "".join(
    f"CREATE TRIGGER IF NOT EXISTS keep_{table}_{event} BEFORE {event} ON {table} "
    "BEGIN SELECT RAISE(ABORT, 'append only'); END;\n"
    for table in _TABLES
    for event in ("UPDATE", "DELETE")
)


@dataclass(frozen=True)
class Result:
    """The result for one series.

    Attributes:
        id: of the response; all series of it share it.
        series: index of the series in the response.
        at: UTC, ISO 8601.
        reader: name of the key that asked; "" where keys are off.
        model: SHA-256 of the model's file.
        label, decision: of the series.
        slices: number of slices.
        reading: the class that the reader gave last; "": none.
    """

    id: str
    series: int
    at: str
    reader: str
    model: str
    label: str
    decision: str
    slices: int
    reading: str = ""


@dataclass(frozen=True)
class Feedback:
    """What a reader says of a series, or of some of its slices.

    Attributes:
        id, series: of the result.
        at: UTC, ISO 8601.
        reader: name of the key.
        agree: whether the label of the result is right.
        label: the reader's class.
        slices: positions in the series, from 1; empty: the series as a whole.
    """

    id: str
    series: int
    at: str
    reader: str
    agree: bool
    label: str
    slices: tuple[int, ...] = ()


class FeedbackStore:
    """The sqlite file; each call opens it, so threads and workers share nothing.

    Raises:
        ConfigError: the file cannot be written, or is another one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            with closing(sqlite3.connect(path, timeout=_BUSY_SECONDS)) as database:
                database.execute("PRAGMA journal_mode=WAL")
                database.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(
                f"Expected to keep feedback in {path}, but: {error}.",
                "Name a file in a folder that the server may write to: KIDNEY_FEEDBACK_FILE.",
            ) from error

    def add_result(self, result: Result, digests: Sequence[tuple[str, str]]) -> None:
        """Keep the result of a series; `digests`: SHA-256 of file and pixels, of each slice."""
        with self._open() as database:
            database.execute(
                "INSERT INTO results VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    result.id, result.series, result.at, result.reader, result.model, result.label,
                    result.decision,
                ),
            )  # fmt: skip
            database.executemany(
                "INSERT INTO slices VALUES (?, ?, ?, ?, ?)",
                [(result.id, result.series, at, *pair) for at, pair in enumerate(digests, start=1)],
            )

    def add_feedback(self, feedback: Feedback) -> None:
        """Keep feedback; an earlier one of the reader stays, and the newest counts."""
        with self._open() as database:
            database.execute(
                "INSERT INTO feedback (id, series, at, reader, agree, label, slices) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    feedback.id, feedback.series, feedback.at, feedback.reader, feedback.agree,
                    feedback.label, json.dumps(feedback.slices),
                ),
            )  # fmt: skip

    def results(
        self, *, id: str | None = None, reader: str | None = None, since: str = ""
    ) -> list[Result]:
        """Return results, the newest first: of one id, of one reader, from a time on."""
        with self._open() as database:
            rows = database.execute(
                "SELECT id, series, at, reader, model, label, decision, "
                "(SELECT COUNT(*) FROM slices WHERE slices.id = results.id "
                " AND slices.series = results.series), "
                "COALESCE((SELECT label FROM feedback WHERE feedback.id = results.id "
                " AND feedback.series = results.series ORDER BY number DESC LIMIT 1), '') "
                "FROM results WHERE (?1 IS NULL OR id = ?1) AND (?2 IS NULL OR reader = ?2) "
                "AND at >= ?3 ORDER BY at DESC, series",
                (id, reader, since),
            )
            return [Result(*row) for row in rows]

    def feedback(self) -> list[Feedback]:
        """Return all feedback, the oldest first."""
        with self._open() as database:
            rows = database.execute(
                "SELECT id, series, at, reader, agree, label, slices FROM feedback ORDER BY number"
            )
            return [
                Feedback(id, series, at, reader, bool(agree), label, tuple(json.loads(slices)))
                for id, series, at, reader, agree, label, slices in rows
            ]

    def digests(self, id: str, series: int) -> list[tuple[str, str]]:
        """Return the SHA-256 of file and pixels of each slice of a series, in order."""
        with self._open() as database:
            rows = database.execute(
                "SELECT file_sha256, pixel_sha256 FROM slices WHERE id = ? AND series = ? "
                "ORDER BY slice",
                (id, series),
            )
            return [(file, pixels) for file, pixels in rows]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=_BUSY_SECONDS)) as database, database:
            yield database
