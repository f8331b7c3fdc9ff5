"""One Orthanc and one HTTP server, and CT series whose answers can be foretold."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from pydicom.uid import generate_uid

from tests.helpers.dicom_files import changed
from tests.helpers.orthanc import Orthanc, require_orthanc
from tests.helpers.server_process import Server, serving
from tests.helpers.tiny_model import write_tiny_model
from tests.helpers.upload_files import series

# The tiny model measures brightness: dark slices are normal, bright ones hold a tumour.
NORMAL, TUMOUR, UNSURE = [-1000] * 4, [-1000, 1000, 1000, -1000], [-1000, 60, -1000, -1000]


def ct(levels: list[int], **values: object) -> list[bytes]:
    """Return a series of 64 x 64 whose slices have these HU, in a box (8 to 56, 16 to 64)."""
    study, own = generate_uid(), generate_uid()
    files = []
    for number, level in enumerate(levels, start=1):
        stored = np.zeros((64, 64), dtype=np.uint16)
        stored[8:56, 16:64] = level + 1024
        one: dict[str, object] = {
            "StudyInstanceUID": study, "SeriesInstanceUID": own, "SOPInstanceUID": generate_uid(),
            "Rows": 64, "Columns": 64, "PixelData": stored.tobytes(), "InstanceNumber": number,
            "ImagePositionPatient": [0, 0, -3 * number], "PatientID": "P1",
        }  # fmt: skip
        files.append(changed(series()[0], **(one | values)))
    return files


@pytest.fixture(scope="module")
def orthanc_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    require_orthanc()
    orthanc = Orthanc(tmp_path_factory.mktemp("orthanc"))
    try:
        yield orthanc.start()
    finally:
        orthanc.kill()


@pytest.fixture
def orthanc(orthanc_module: Orthanc) -> Orthanc:
    """An empty archive."""
    orthanc_module.clear()
    return orthanc_module


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    model = write_tiny_model(tmp_path_factory.mktemp("model") / "kidney.onnx")
    with serving(model) as server:
        yield server


@pytest.fixture
def process(orthanc: Orthanc, server: Server, tmp_path: Path) -> Callable[..., object]:
    """Make a process that works on the archive; keywords are settings."""
    pytest.importorskip("highdicom", reason="needs the extra dicom")
    from kidney.dicom.process import Process
    from kidney.dicom.settings import Settings

    def make(
        reached: Callable[[str], None] = lambda _: None,
        registry: CollectorRegistry | None = None,
        **settings: object,
    ) -> Process:
        wanted = {
            "archive": orthanc.web, "server": f"http://{server.address}",
            "state": tmp_path / "state.sqlite", "stable_seconds": 1e-6, "retry_seconds": 1e-6,
            **settings,
        }  # fmt: skip
        return Process(Settings(**wanted), registry or CollectorRegistry(), reached)

    return make
