"""What tests of several stations share."""

import os
from pathlib import Path

import pytest


@pytest.hookimpl(tryfirst=True)  # before the groups are read
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep what shares a fixture in one process, and begin with what takes longest."""
    pipeline = Path(__file__).parent / "pipeline"
    for item in items:
        long = item.path.is_relative_to(pipeline)
        item.add_marker(pytest.mark.xdist_group("pipeline" if long else str(item.path)))
    items.sort(key=lambda item: not item.path.is_relative_to(pipeline))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the repository; without it CI fails and others skip."""
    folder = Path(__file__).parents[2] / "shared"
    if not folder.is_dir():
        reason = f"the shared data are not at {folder}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return folder
