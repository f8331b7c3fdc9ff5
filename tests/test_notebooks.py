"""Notebooks are short, import the package, and are committed without what a run leaves behind."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
NAMES = ("01_data.ipynb", "02_training.ipynb", "03_evidence.ipynb")
DEFINES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
MACHINE = re.compile(r"(?<![\w.:/])/(home|root|work|tmp|mnt|opt|var|Users)/|[A-Za-z]:\\\\")
MOST_CELLS, MOST_LINES = 12, 30


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
        if cell["outputs"] or cell["execution_count"] is not None or cell["metadata"]:
            found.append("what a run left")
        if any(isinstance(node, DEFINES) for node in ast.walk(ast.parse(source))):
            found.append("a function or class")
        if len(source.splitlines()) > MOST_LINES:
            found.append("a long cell")
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
        ({"outputs": [{"output_type": "stream", "name": "stdout", "text": ["a"]}]},
         "what a run left"),
    ],
)  # fmt: skip
def test_what_must_not_be_committed_is_noticed(change: dict[str, Any], fault: str):
    cell = {"cell_type": "code", "metadata": {}, "source": [], "outputs": [],
            "execution_count": None}  # fmt: skip
    assert faults({"metadata": {}, "cells": [cell]}) == []
    assert faults({"metadata": {}, "cells": [cell | change]}) == [fault]
