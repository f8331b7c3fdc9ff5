"""What tests of several folders share."""

import os
from pathlib import Path

import pytest

# What takes longest begins, so that two processes end at about the same time. One walks the whole
# pipeline, which the other tests of its folder wait for; meanwhile the other does what needs none.
ORDER = (
    "pipeline/test_pipeline.py",
    "export",
    "pipeline",
    "browser",
    "serving",
    "",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests into ORDER."""
    places = [Path(__file__).parent / place for place in ORDER]
    items.sort(key=lambda item: [item.path.is_relative_to(place) for place in places].index(True))


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
