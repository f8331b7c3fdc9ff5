"""A small set of class folders, and the data folder that ingest makes of it."""

from pathlib import Path

import pytest

from tests.helpers.data_slices import take, write_tree


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Class folders as the Kaggle set has them: 4 classes, 4 scans each, 3 slices a scan."""
    return write_tree(tmp_path / "source")


@pytest.fixture
def data(tmp_path: Path, source: Path) -> Path:
    """The data folder after ingest of `source`: raw/, manifest.csv, rejected.csv, cache."""
    folder = tmp_path / "data"
    take(folder, source)
    return folder
