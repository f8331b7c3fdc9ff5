"""kidney predict: what the server would answer, at the command line and without one."""

import csv
import json
import sys
from pathlib import Path

import pytest

from kidney.__main__ import main
from kidney.serving.app import create_app
from kidney.serving.settings import Settings
from tests.helpers.pictures import encode, gradient
from tests.helpers.tiny_model import write_tiny_model
from tests.serving.inference.test_decode import series


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "tiny.onnx")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "disc"
    (made / "series").mkdir(parents=True)
    for number, data in enumerate(series()[:3]):
        (made / "series" / f"{number}.dcm").write_bytes(data)
    (made / "notes.txt").write_text("no slice")
    return made


def test_a_folder_is_read_as_one_request_would_be(folder: Path, model: Path, tmp_path, capsys):
    out = tmp_path / "out"
    status = main(
        ["predict", str(folder), "--model", str(model), "--json", str(out / "a.json"),
         "--csv", str(out / "a.csv"), "--overlay", str(out / "overlays")]
    )  # fmt: skip
    shown = capsys.readouterr().out
    assert status == 0
    assert "Series 1: 3 slices, DICOM series" in shown
    assert f"not read: {folder / 'notes.txt'}" in shown
    app = create_app(Settings(model=model, threads=1, auth=False)).test_client()
    files = [(path.open("rb"), path.name) for path in sorted(folder.rglob("*.*"))]
    there = app.post("/api/v1/predictions", data={"file": files}).get_json()
    assert json.loads((out / "a.json").read_text())["series"] == there["series"]
    rows = list(csv.DictReader((out / "a.csv").open()))
    assert sorted(Path(row["file"]).name for row in rows) == ["0.dcm", "1.dcm", "2.dcm"]
    assert len(list((out / "overlays").iterdir())) == 3


def test_a_damaged_file_is_named_and_the_others_are_read(folder: Path, model: Path, capsys):
    whole = (folder / "series/0.dcm").read_bytes()
    (folder / "series/broken.dcm").write_bytes(whole[:-500])
    assert main(["predict", str(folder), "--model", str(model)]) == 1
    printed = capsys.readouterr()
    assert str(folder / "series/broken.dcm") in printed.err
    assert "Series 1: 3 slices" in printed.out
    assert f"LEFT OUT, and a finding may lie there: {folder / 'series/broken.dcm'}" in printed.out


def test_nothing_to_read_is_an_error(tmp_path: Path, model: Path, capsys):
    (tmp_path / "a.txt").write_text("no slice")
    assert main(["predict", str(tmp_path / "a.txt"), "--model", str(model)]) == 2
    assert main(["predict", str(tmp_path / "missing.png"), "--model", str(model)]) == 2
    assert "missing.png" in capsys.readouterr().err


def test_a_picture_is_answered_by_the_model_in_the_box(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "slice.png").write_bytes(encode(gradient()))
    assert main(["predict", "slice.png"]) == 0
    assert "slice.png" in capsys.readouterr().out


def test_the_command_lists_what_it_can(capsys):
    assert main(["--help"]) == 0
    assert "predict" in capsys.readouterr().out
    assert main(["nonsense"]) == 2


def test_a_module_of_ours_that_is_missing_is_a_defect(monkeypatch):
    monkeypatch.setitem(sys.modules, "kidney.dicom.__main__", None)
    with pytest.raises(ModuleNotFoundError):
        main(["dicom"])
