"""The notebooks run from top to bottom on what the commands leave in a workspace."""

import shutil
import sys
import zipfile
from itertools import groupby
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.pipeline.conftest import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def workspace(pipeline, shared, tmp_path_factory) -> Path:
    """The road's model and runs, the small real set, and real slices with drawn lesions."""
    folder = tmp_path_factory.mktemp("workspace")
    (folder / "data").mkdir()
    (folder / "artifacts").symlink_to(pipeline.folder / "artifacts")
    (folder / "data/phantom").symlink_to(pipeline.folder / "data/phantom")
    shutil.copy(pipeline.folder / "mlflow.db", folder)
    source = f"data.source={shared / 'data/ct-kidney-mini.zip'}"
    pipeline.run(sys.executable, "scripts/ingest.py", source, f"workspace={folder}")
    with zipfile.ZipFile(shared / "data/kits19-slices.zip") as packed:
        packed.extractall(folder / "data/masked-kits19-slices.zip")
    return folder


def test_all_notebooks_run_and_what_is_committed_is_what_they_show(pipeline, workspace):
    pipeline.run(
        "env", f"KIDNEY_WORKSPACE={workspace}", sys.executable, "scripts/run_notebooks.py"
    )  # fmt: skip
    assert len(NOTEBOOKS) == 3
    for path in NOTEBOOKS:
        assert structure(path) == structure(pipeline.folder / "notebooks" / path.name)


def structure(path: Path) -> list[list[list[str]]]:
    """Return what kinds of output each cell has; text that comes in pieces counts once."""
    cells = nbformat.read(path, as_version=4).cells
    shown = [
        [sorted(output.get("data", {"text": ""})) for output in cell.outputs]
        for cell in cells
        if cell.cell_type == "code"
    ]
    return [[kinds for kinds, _ in groupby(of_cell)] for of_cell in shown]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_same_workspace_shows_the_same(path: Path, workspace, monkeypatch):
    monkeypatch.setenv("KIDNEY_WORKSPACE", str(workspace))
    assert _shown(path) == _shown(path)


def _shown(path: Path) -> list[object]:
    """Run a notebook where it lies; return its texts and pictures."""
    notebook = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=1200, kernel_name="python3", resources=place).execute()
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    return [
        out["text"] if out["output_type"] == "stream" else out["data"].get("image/png")
        for out in outputs
        if out.get("name") != "stderr"
    ]
