"""What happens here is told to nobody, unless somebody asks for it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SWITCHES = ("ORT_DISABLE_TELEMETRY", "MLFLOW_DISABLE_TELEMETRY")


@pytest.mark.parametrize("chosen", ["", "0"])
def test_libraries_report_nothing_unless_asked(chosen: str):
    kept = {name: value for name, value in os.environ.items() if name not in SWITCHES}
    chosen_ones = dict.fromkeys(SWITCHES, chosen) if chosen else {}
    program = f"import os, kidney.errors; print([os.environ[name] for name in {SWITCHES}])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[1],
        env={**kept, **chosen_ones},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str([chosen or "1"] * 2)
