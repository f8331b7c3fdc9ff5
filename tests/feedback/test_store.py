"""The file is append-only, and says so itself."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from kidney.errors import ConfigError
from kidney.feedback.store import Feedback, FeedbackStore, Result


def result(id: str = "a", at: str = "2026-01-01T00:00:00+00:00", reader: str = "anna") -> Result:
    return Result(id, 0, at, reader, "m" * 64, "cyst", "needs_review", 2)


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    store = FeedbackStore(tmp_path / "new" / "feedback.sqlite")
    store.add_result(result(), [("f1", "p1"), ("f2", "p2")])
    store.add_result(result("b", "2026-02-01T00:00:00+00:00", "bert"), [("f3", "p3")])
    told = Feedback("a", 0, "2026-01-02", "anna", agree=False, label="tumor", slices=(2,))
    store.add_feedback(told)
    again = FeedbackStore(tmp_path / "new" / "feedback.sqlite")
    assert again.feedback() == [told]
    assert again.digests("a", 0) == [("f1", "p1"), ("f2", "p2")]
    assert [one.id for one in again.results()] == ["b", "a"]
    (own,) = again.results(reader="anna")
    assert (own.slices, own.reading) == (2, "tumor")
    assert again.results(reader="anna", since="2026-01-15") == []


@pytest.mark.parametrize("change", ["UPDATE {} SET id = 'x'", "DELETE FROM {}"])
@pytest.mark.parametrize("table", ["results", "slices", "feedback"])
def test_nothing_is_changed_or_deleted(tmp_path: Path, change: str, table: str) -> None:
    store = FeedbackStore(tmp_path / "feedback.sqlite")
    store.add_result(result(), [("f", "p")])
    store.add_feedback(Feedback("a", 0, "2026", "anna", agree=True, label="cyst"))
    with (
        closing(sqlite3.connect(tmp_path / "feedback.sqlite")) as database,
        pytest.raises(sqlite3.IntegrityError, match="append only"),
    ):
        database.execute(change.format(table))


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no database, but longer than a header " * 40)
    with pytest.raises(ConfigError, match="KIDNEY_FEEDBACK_FILE"):
        FeedbackStore(tmp_path / "notes.txt")
