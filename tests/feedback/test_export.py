"""Which feedback becomes a label, and of what."""

from pathlib import Path

from kidney.data.corrections import read_corrections
from kidney.feedback.__main__ import main
from kidney.feedback.corrections import Agreement, corrections, known_slices
from kidney.feedback.store import Feedback, FeedbackStore, Result
from tests.helpers.data_slices import take, write_tree

FILES = ("Cyst/Cyst- (1).png", "Cyst/Cyst- (2).png", "Cyst/Cyst- (3).png")


def filled(tmp_path: Path) -> tuple[FeedbackStore, Path]:
    """A data set, and a store with the result for one of its scans as "x"."""
    data = tmp_path / "data"
    slices = take(data, write_tree(tmp_path / "source")).set_index("path")
    store = FeedbackStore(tmp_path / "feedback.sqlite")
    store.add_result(
        Result("x", 0, "2026", "anna", "m" * 64, "cyst", "cyst", 3),
        [(slices.loc[file, "sha256"], "of pixels") for file in FILES],
    )
    return store, data


def say(store: FeedbackStore, label: str, *slices: int, reader: str = "anna") -> None:
    store.add_feedback(Feedback("x", 0, "2026", reader, label == "cyst", label, slices))


def test_named_slices_get_the_newest_label_of_a_reader(tmp_path: Path) -> None:
    store, data = filled(tmp_path)
    say(store, "stone", 1, 2)
    say(store, "tumor", 2)
    export = corrections(store, known_slices(data))
    assert export.slices == {(FILES[0], 0): "stone", (FILES[1], 0): "tumor"}
    assert export.series == {}
    assert export.agreement == [Agreement("m" * 64, "cyst", 0, 1)]


def test_where_readers_differ_nobody_is_right(tmp_path: Path) -> None:
    store, data = filled(tmp_path)
    say(store, "stone", 1, 2)
    say(store, "cyst", 2, reader="bert")
    export = corrections(store, known_slices(data))
    assert (export.slices, export.conflicts) == ({(FILES[0], 0): "stone"}, 1)
    assert export.agreement == [Agreement("m" * 64, "cyst", 1, 2)]


def test_a_series_label_is_not_that_of_its_slices(tmp_path: Path, capsys) -> None:
    store, data = filled(tmp_path)
    say(store, "tumor")
    out = tmp_path / "out"
    assert main(["export", str(tmp_path / "feedback.sqlite"), str(data), "--out", str(out)]) == 0
    assert read_corrections(out / "corrections.csv") == {}
    assert (out / "series.csv").read_text().endswith(",tumor\n")
    assert "0 of 1" in (out / "agreement.html").read_text()
    assert "0 slices and 1 series" in capsys.readouterr().out


def test_a_file_without_a_label_gets_one_by_feedback(tmp_path: Path) -> None:
    store, data = filled(tmp_path)
    (data / "manifest.csv").unlink()  # as where ingest has refused all files
    say(store, "stone", 3)
    assert corrections(store, known_slices(data)).slices == {(FILES[2], 0): "stone"}


def test_what_is_in_no_data_set_is_counted(tmp_path: Path) -> None:
    store, _ = filled(tmp_path)
    say(store, "stone", 3)
    say(store, "tumor")
    assert corrections(store, {}).unknown == 2


def test_a_missing_file_or_data_set_is_told(tmp_path: Path, capsys) -> None:
    assert main(["export", str(tmp_path / "none"), str(tmp_path)]) == 2
    FeedbackStore(tmp_path / "feedback.sqlite")
    assert main(["export", str(tmp_path / "feedback.sqlite"), str(tmp_path)]) == 2
    assert "KIDNEY_FEEDBACK_FILE" in (text := capsys.readouterr().err)
    assert "scripts/ingest.py" in text
