"""The folder of results: whose it is, what is done, and how it ends."""

from pathlib import Path

import pytest

from kidney.errors import ConfigError, ImageError, ImageTypeError
from kidney.scoring.results import Results
from kidney.scoring.rows import error_row, shown
from kidney.scoring.storage import Place
from tests.helpers.tiny_model import CARD

BELONGS = {"archive": "/archive", "model": "1", "window": "400/40"}


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(Place(str(tmp_path / "out")), CARD, "1")


def test_a_folder_belongs_to_one_archive_and_model(results: Results) -> None:
    results.claim(BELONGS)
    results.claim(BELONGS)
    for name in BELONGS:
        with pytest.raises(ConfigError, match=f"results of the {name} other"):
            results.claim({**BELONGS, name: "other"})


def test_a_chunk_is_done_once_its_slices_are_written(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = [error_row("a", ImageError("It is cut.", "Copy it.")) for _ in range(2)]
    write = results.place.write

    def cut_off(name: str, data: bytes) -> None:
        if name.startswith("slices"):
            raise KeyboardInterrupt
        write(name, data)

    monkeypatch.setattr(results.place, "write", cut_off)
    with pytest.raises(KeyboardInterrupt):
        results.write("1", [], bad)
    assert results.done() == set()
    monkeypatch.undo()
    results.write("1", [], bad)
    assert results.done() == {"1"}
    assert results.counts("1") == {"slices": 0, "damaged": 2}


def test_parts_of_files_that_are_gone_go_at_the_end(results: Results) -> None:
    for chunk in ("1", "2"):
        results.write(chunk, [], [error_row("a", ImageTypeError("No picture.", "Nothing."))])
    results.finish({"1"}, {"slices": 0})
    assert results.done() == {"1"}
    assert results.place.names("errors") == {"1.parquet"}
    assert results.place.read("summary.json") is not None
    results.begin()
    assert results.place.read("summary.json") is None


def test_a_path_that_is_no_text_is_spelt_out() -> None:
    assert shown("/a/b\udcff.dcm") == "/a/b\\xff.dcm"
