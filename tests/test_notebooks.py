"""Notebooks are short, import the package, and are committed with small outputs of drawings."""

import ast
import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

from scripts.run_notebooks import MOST_BYTES

ROOT = Path(__file__).parents[1]
NAMES = ("01_data.ipynb", "02_training.ipynb", "03_evidence.ipynb")
DEFINES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
SHOWN = {"output_type": "stream", "name": "stdout", "text": ["a"]}
MACHINE = re.compile(r"(?<![\w.:/])/(home|root|work|tmp|mnt|opt|var|Users)/|[A-Za-z]:\\\\")
MOST_CELLS, MOST_LINES = 12, 30
BADGE = "../docs/assets/drawn-patients.svg"


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def faults(notebook: dict[str, Any]) -> list[str]:
    """Return what must not be committed, a line each."""
    found = []
    if set(notebook["metadata"]) - {"kernelspec", "language_info"}:
        found.append("metadata of a frontend")
    if len(notebook["cells"]) > MOST_CELLS:
        found.append("too many cells")
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if MACHINE.search(source):
            found.append("a path of a machine")
        if cell["cell_type"] != "code":
            continue
        if cell["execution_count"] is not None or cell["metadata"]:
            found.append("what a run left")
        found += output_faults(cell["outputs"])
        if any(isinstance(node, DEFINES) for node in ast.walk(ast.parse(source))):
            found.append("a function or class")
        if len(source.splitlines()) > MOST_LINES:
            found.append("a long cell")
    return found


def output_faults(outputs: list[dict[str, Any]]) -> list[str]:
    found = [] if outputs else ["a cell that shows nothing: run scripts/run_notebooks.py"]
    for output in outputs:
        data = output.get("data", {"text/plain": output.get("text", "")})
        if output["output_type"] == "error" or output.get("name") == "stderr":
            found.append("an error or progress")
        if MACHINE.search(json.dumps(data.get("text/plain", ""))):
            found.append("a path of a machine")
        if len(base64.b64decode(data.get("image/png", ""))) > MOST_BYTES:
            found.append("a large picture")
    return found


def test_all_of_them_are_known_here():
    assert sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb")) == [*NAMES]


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_fit_to_be_committed(name: str):
    assert faults(read(ROOT / "notebooks" / name)) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_says_what_one_sees_and_imports_the_package(name: str):
    cells = read(ROOT / "notebooks" / name)["cells"]
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    assert texts[0].startswith("# ")
    assert "KIDNEY_WORKSPACE" in texts[0]
    assert BADGE in texts[0]
    assert (ROOT / "notebooks" / BADGE).is_file()
    assert len(texts) >= len(cells) / 2 - 1
    assert any("from kidney." in "".join(cell["source"]) for cell in cells)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"source": ["def f():\n", "    pass"]}, "a function or class"),
        ({"source": ["sorted(a, key=lambda b: b)"]}, "a function or class"),
        ({"source": ["class A: pass"]}, "a function or class"),
        ({"source": ["open('/home/someone/slices.zip')"]}, "a path of a machine"),
        ({"source": ["1\n"] * (MOST_LINES + 1)}, "a long cell"),
        ({"execution_count": 3}, "what a run left"),
        ({"outputs": []}, "a cell that shows nothing: run scripts/run_notebooks.py"),
        ({"outputs": [{**SHOWN, "name": "stderr"}]}, "an error or progress"),
        ({"outputs": [{**SHOWN, "text": ["at /home/someone"]}]}, "a path of a machine"),
        ({"outputs": [{"output_type": "display_data", "data": {"image/png": "A" * 140_000}}]},
         "a large picture"),
    ],
)  # fmt: skip
def test_what_must_not_be_committed_is_noticed(change: dict[str, Any], fault: str):
    cell = {"cell_type": "code", "metadata": {}, "source": [], "outputs": [SHOWN],
            "execution_count": None}  # fmt: skip
    assert faults({"metadata": {}, "cells": [cell]}) == []
    assert faults({"metadata": {}, "cells": [cell | change]}) == [fault]
