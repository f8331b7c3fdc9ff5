"""The benchmarks take minutes, so nobody runs them by the way: that they start is seen here."""

import importlib
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

SCRIPTS = Path(__file__).parents[1] / "scripts"
COMMAND = [sys.executable, str(SCRIPTS / "benchmark.py")]


def test_the_benchmarks_start_and_say_which_parts_there_are():
    done = subprocess.run([*COMMAND, "speed"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "data, training, export, runtime, http, scoring" in done.stderr


def test_the_page_tells_each_ratio_and_of_what_it_is(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    page = importlib.import_module("benchmarks.page").page
    row = importlib.import_module("benchmarks.timing").Row
    rows = [("data", row("ingest, slices/s", "Pillow", 0.951)), ("http", row("p50", "raw", 1.2))]
    text = page(rows, "0123abc", ["--weights", "a folder"])
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert table == [
        "| station | ours | against | ratio |",
        "| --- | --- | --- | --- |",
        "| data | ingest, slices/s | Pillow | 0.95 |",
        "| http | p50 | raw | 1.20 |",
    ]
    assert "0123abc" in text
    assert "`--weights 'a folder'`" in text
    assert f"onnxruntime {version('onnxruntime')}" in text
