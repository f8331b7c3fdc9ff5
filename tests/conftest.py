"""What tests of several stations share."""

import os
from pathlib import Path

import pytest

PIPELINE = Path(__file__).parent / "pipeline"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest: two processes then end at about the same time."""
    items.sort(key=lambda item: not item.path.is_relative_to(PIPELINE))


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
