"""The benchmarks take minutes, so nobody runs them by the way: that they start is seen here."""

import subprocess
import sys
from pathlib import Path

COMMAND = [sys.executable, str(Path(__file__).parents[1] / "scripts/benchmark.py")]


def test_every_part_of_the_benchmark_is_there():
    done = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "data, training, runtime, export" in " ".join(done.stdout.split())


def test_a_part_that_there_is_not_is_told():
    done = subprocess.run([*COMMAND, "speed"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "data, training, runtime, export" in done.stderr
