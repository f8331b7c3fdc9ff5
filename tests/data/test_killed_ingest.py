"""SIGKILL at any moment of an ingest loses nothing, and the same command then completes."""

import multiprocessing
import random
import shutil
import time
from pathlib import Path

import pytest

from kidney.data.cache import open_cache
from kidney.data.manifest import read_manifest
from kidney.errors import DataError
from tests.helpers.data_slices import content, take, write_tree

# A clean process that has imported what ingest needs, and is forked for each try in no time.
FORKING = multiprocessing.get_context("forkserver")
FORKING.set_forkserver_preload(["tests.helpers.data_slices"])


def ingest_in_a_process(folder: Path, source: Path, seconds: float | None) -> float:
    """Ingest, killed after `seconds` if given; return how long it ran."""
    process = FORKING.Process(target=take, args=(folder, source))
    process.start()
    began = time.monotonic()
    process.join(seconds)
    if seconds is not None:
        process.kill()
        process.join()
    else:
        assert process.exitcode == 0
    return time.monotonic() - began


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two sets as archives: the one that was ingested before, and the new one."""
    folder = tmp_path_factory.mktemp("archives")
    old, new = write_tree(folder / "old", scans=2), write_tree(folder / "new", scans=9, slices=6)
    return tuple(  # type: ignore[return-value]
        Path(shutil.make_archive(str(folder / f"{tree.name}-set"), "zip", tree))
        for tree in (old, new)
    )


@pytest.mark.parametrize("earlier", [False, True])
def test_a_killed_ingest_completes_when_it_is_run_again(
    archives: tuple[Path, Path], tmp_path: Path, earlier: bool
) -> None:
    old, new = archives
    ingest_in_a_process(tmp_path / "whole", new, None)  # starts the clean process, too
    whole, folder = content(tmp_path / "whole"), tmp_path / "data"
    needed = ingest_in_a_process(tmp_path / "timed", new, None)
    moments = random.Random(5)
    states = set()
    for _ in range(5):
        if earlier:
            shutil.rmtree(folder, ignore_errors=True)
            take(folder, old)
        ingest_in_a_process(folder, new, needed * moments.uniform(0.02, 1.0))
        states.add(state_of(folder))
    ingest_in_a_process(folder, new, None)
    # What a killed process leaves is hidden and goes, at the latest, when it has grown old.
    found = {name: data for name, data in content(folder).items() if not name.startswith(".")}
    assert found == whole
    assert states <= {"nothing", "24 slices", "216 slices"}


def state_of(folder: Path) -> str:
    """Say what a reader of the folder finds: the old or the new set, whole, or none."""
    try:
        slices = read_manifest(folder)
    except DataError:
        return "nothing"
    cache = open_cache(folder, slices)
    assert len(cache[len(slices) - 1])
    return f"{len(slices)} slices"
