"""Files that several tests of this station read."""

from pathlib import Path
from zipfile import ZipFile

import pytest

from kidney.data.phantom.scan import PhantomScan
from tests.helpers.dicom_files import phantom_series


@pytest.fixture(scope="session")
def series(tmp_path_factory: pytest.TempPathFactory) -> tuple[PhantomScan, list[bytes]]:
    """A phantom scan, and its slices as uncompressed DICOM, head first."""
    scan, paths = phantom_series(tmp_path_factory.mktemp("phantom"))
    return scan, [path.read_bytes() for path in paths]


@pytest.fixture(scope="session")
def real_files(shared: Path) -> dict[str, bytes]:
    """The 20 real slices, by name."""
    with ZipFile(shared / "data" / "ct-dicom-series.zip") as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        return {name: archive.read(name) for name in names}
