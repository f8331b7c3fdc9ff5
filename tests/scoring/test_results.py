"""The folder of results: whose it is, what is done, and how it ends."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from kidney.errors import ConfigError, ImageError, ImageTypeError
from kidney.scoring.results import Results
from kidney.scoring.rows import as_text, error_row
from tests.helpers.tiny_model import CARD

BELONGS = {"archive": "/archive", "model": "1", "window": "400/40"}


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(str(tmp_path / "out"), CARD, "1")


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
    write = results.write

    def cut_off(name: str, data: bytes) -> None:
        if name.startswith("slices"):
            raise KeyboardInterrupt
        write(name, data)

    monkeypatch.setattr(results, "write", cut_off)
    with pytest.raises(KeyboardInterrupt):
        results.write_chunk("1", [], bad)
    assert results.done() == set()
    monkeypatch.undo()
    results.write_chunk("1", [], bad)
    assert results.done() == {"1"}
    assert results.counts("1") == Counter(damaged=2)


def test_parts_of_files_that_are_gone_go_at_the_end(results: Results, tmp_path: Path) -> None:
    for chunk in ("1", "2"):
        results.write_chunk(chunk, [], [error_row("a", ImageTypeError("No picture.", "Nothing."))])
    results.finish({"1"}, {"slices": 0})
    assert results.done() == {"1"}
    assert [path.name for path in (tmp_path / "out" / "errors").iterdir()] == ["1.parquet"]
    assert results.read("summary.json") is not None
    results.begin()
    assert results.read("summary.json") is None


def test_a_path_that_is_no_text_is_spelt_out() -> None:
    assert as_text("/a/b\udcff.dcm") == "/a/b\\xff.dcm"


def test_an_object_of_no_bytes_is_still_being_written(s3: Any) -> None:
    results = Results("s3://hospital/scores", CARD, "1")
    results.write_chunk("1", [], [])
    s3.put_object(Bucket="hospital", Key="scores/slices/2.parquet", Body=b"")
    assert results.done() == {"1"}
