import os
from pathlib import Path

import pytest

from kidney.artifact.cores import cores

ALLOWED = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "6400000 100000\n"}, min(64, ALLOWED)),
        ({"cpu.max": "max 100000\n"}, ALLOWED),
        ({"cpu.max": "nonsense"}, ALLOWED),
        ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, ALLOWED),
        ({}, ALLOWED),
    ],
)
def test_a_container_has_the_cores_that_it_was_given(
    tmp_path: Path, files: dict[str, str], expected: int
):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cores(tmp_path) == expected


def test_a_process_bound_to_one_core_has_one():
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system binds no processes to cores")
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, [min(before)])
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, before)
