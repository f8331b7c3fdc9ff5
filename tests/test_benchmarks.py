"""The benchmarks take minutes, so nobody runs them by the way: that they start is seen here."""

import subprocess
import sys
from pathlib import Path

COMMAND = [sys.executable, str(Path(__file__).parents[1] / "scripts/benchmark.py")]


def test_the_benchmarks_start_and_say_which_parts_there_are():
    done = subprocess.run([*COMMAND, "speed"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "data, training, runtime, http, scoring, export" in done.stderr
