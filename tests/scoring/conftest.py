"""An archive with good and bad files, a model, and a server that speaks S3."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from kidney.data.phantom.files import write_dicom_series
from kidney.data.phantom.scan import generate_scan
from tests.helpers.dicom_files import changed
from tests.helpers.pictures import encode, gradient
from tests.helpers.s3_server import s3_server
from tests.helpers.tiny_model import write_tiny_model

SALT = "a salt for the tests"
PATIENT = "Doe^Jane"


class Archive(NamedTuple):
    """A folder, and what every file in it should come to."""

    folder: Path
    slices: dict[str, int]  # path -> how many
    bad: dict[str, str]  # path -> kind


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "kidney.onnx")


@pytest.fixture(autouse=True)
def salt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIDNEY_SALT", SALT)


@pytest.fixture(scope="session")
def dicom(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """One slice of a patient with a name for an id."""
    folder = tmp_path_factory.mktemp("dicom")
    scan = generate_scan(3, "stone", size=64, max_slices=1)
    (file,) = write_dicom_series(folder / "series", scan)
    return changed(file.read_bytes(), PatientID=PATIENT, InstanceNumber=17)


def fill(folder: Path, pictures: int, dicom: bytes) -> Archive:
    """Write pictures of all greys, DICOM slices, and one of each kind of bad file."""
    slices, bad = {}, {}

    def put(name: str, data: bytes, comes_to: str | None = None) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        if comes_to:
            bad[str(path)] = comes_to
        else:
            slices[str(path)] = 1

    for number in range(pictures):
        grey = np.full((40, 40), number * 255 // pictures, np.uint8)
        put(f"pictures/{number // 50}/{number:04}.png", encode(grey))
    put("study é/1.dcm", dicom)
    put("study é/2", changed(dicom, InstanceNumber=18))
    put("study é/scout.dcm", changed(dicom, ImageType=["A", "B", "LOCALIZER"]), "passed_over")
    put("study é/mr.dcm", changed(dicom, Modality="MR"), "passed_over")
    put("study é/cut.dcm", dicom[:-900], "damaged")
    put("cut.png", encode(gradient())[:-40], "damaged")
    put("empty", b"", "damaged")
    put("notes.txt", b"no slice\n" * 40, "another_kind")
    put("small.png", encode(gradient(8, 8)), "size")
    (folder / "gone.png").symlink_to(folder / "nowhere")
    bad[str(folder / "gone.png")] = "unreadable"
    return Archive(folder, slices, bad)


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory, dicom: bytes) -> Archive:
    return fill(tmp_path_factory.mktemp("archive"), 60, dicom)


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    with s3_server("hospital") as client:
        yield client
