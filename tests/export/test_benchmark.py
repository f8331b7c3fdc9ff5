from pathlib import Path

import pytest

from kidney.export.benchmark import benchmark


def test_a_file_is_measured_alone_and_beside_another(file: Path):
    (alone,) = benchmark([file])
    assert 0 < alone.milliseconds <= alone.milliseconds_95
    assert alone.size_mb == pytest.approx(file.stat().st_size / 1e6, abs=0.01)
    # The weights at least are held, and no torch is.
    assert alone.size_mb < alone.peak_memory_mb < 300
    assert alone.machine
    assert alone.threads in (1, 2)
    first, second = benchmark([file, file])
    assert first.peak_memory_mb is None
    assert first.milliseconds > 0
    assert second.milliseconds > 0
