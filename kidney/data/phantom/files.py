"""Phantom scans as files: the folders of the Kaggle set, DICOM series, NIfTI volumes.

Every writer leaves all of its files or raises and leaves what was there before.
"""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
from PIL import Image
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid

from kidney.data.phantom.scan import CLASSES, PhantomScan, generate_scans
from kidney.errors import ConfigError, DataError
from kidney.files import whole_folder
from kidney.imaging.windows import to_grey

CLASS_FOLDERS = dict(zip(CLASSES, ("Normal", "Cyst", "Tumor", "Stone"), strict=True))
PICTURE_FORMATS = ("jpg", "png")
TABLE = "phantom.csv"
COLUMNS = (
    "path", "mask", "label", "scan", "seed", "phase", "side", "habitus", "noise", "kernel",
    "slice_mm", "pixel_mm",
)  # fmt: skip
_RESCALE_INTERCEPT = -1024


def write_class_folders(
    folder: Path,
    *,
    scans_per_class: int = 12,
    seed: int = 7,
    size: int = 256,
    max_slices: int = 12,
    picture_format: str = "jpg",
) -> None:
    """Write scans in the layout of the Kaggle CT kidney set.

    `Cyst/Cyst- (17).jpg` is slice 17 of its class: numbers run on from scan to scan, and no scan
    is named, as in the real set. `masks/Cyst- (17).png` holds its mask, uint8, 0 background,
    1 kidney, 2 tumour, 3 cyst, 4 stone. `phantom.csv` holds the truth: one row a slice with its
    scan, contrast phase and all else that was drawn.

    Args:
        folder: new, empty, or written by this function before; then it is replaced.
        scans_per_class: 1 or more; multiples of 4 hold all contrast phases equally often.
        seed: of the whole set.
        size: rows and columns.
        max_slices: the most slices of a scan.
        picture_format: "jpg" (quality 95, as lossy as the real set) or "png".

    Raises:
        ConfigError: a setting out of range.
        DataError: `folder` holds other files, or cannot be written.
    """
    if picture_format not in PICTURE_FORMATS:
        raise ConfigError(
            f"Expected picture_format to be jpg or png, got {picture_format!r}.",
            "Choose one of the two.",
        )
    scans = generate_scans(scans_per_class, seed, size, max_slices)
    if folder.exists() and not (folder / TABLE).is_file():
        _check_empty(folder)
    numbers = dict.fromkeys(CLASSES, 0)
    rows: list[dict[str, object]] = []
    with _written_whole(folder) as partial:
        for name in ("masks", *CLASS_FOLDERS.values()):
            (partial / name).mkdir()
        for scan in scans:
            for hu, mask in zip(scan.hu, scan.masks, strict=True):
                numbers[scan.label] += 1
                name = CLASS_FOLDERS[scan.label]
                stem = f"{name}- ({numbers[scan.label]})"
                row = _row(scan, f"{name}/{stem}.{picture_format}", f"masks/{stem}.png")
                Image.fromarray(to_grey(hu)).save(partial / str(row["path"]), quality=95)
                Image.fromarray(mask).save(partial / str(row["mask"]))
                rows.append(row)
        with (partial / TABLE).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def write_dicom_series(folder: Path, scan: PhantomScan) -> list[Path]:
    """Write a scan as one uncompressed CT series, one file a slice, head first.

    The same scan gets the same UIDs whenever it is written. Stored values are unsigned 16 bit,
    HU = stored - 1024.

    Args:
        folder: new or empty.
        scan: what to write.

    Returns:
        The files in the order of their InstanceNumber, which starts at 1.

    Raises:
        DataError: `folder` holds files already, or cannot be written.
    """
    _check_empty(folder)
    names = [f"slice-{number:03d}.dcm" for number in range(1, len(scan.hu) + 1)]
    with _written_whole(folder) as partial:
        for index, name in enumerate(names):
            _dicom_slice(scan, index).save_as(partial / name, enforce_file_format=True)
    return [folder / name for name in names]


def write_nifti(folder: Path, scan: PhantomScan) -> None:
    """Write image.nii.gz (int16 HU) and labels.nii.gz (uint8 mask) with the same affine.

    Voxel axes run to the patient's left, back and feet; the affine, in mm, says so in NIfTI's
    frame (right, front, head are positive), with its origin in the middle of the volume.

    Args:
        folder: new or empty.
        scan: what to write.

    Raises:
        DataError: `folder` holds files already, or cannot be written.
    """
    _check_empty(folder)
    affine = np.diag([*(-step for step in reversed(scan.spacing)), 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(scan.hu.shape[::-1]) - 1) / 2)
    with _written_whole(folder) as partial:
        for name, volume in (("image", scan.hu), ("labels", scan.masks)):
            picture = nib.Nifti1Image(volume.transpose(2, 1, 0), affine)  # type: ignore[no-untyped-call]
            picture.header.set_xyzt_units("mm")  # type: ignore[no-untyped-call]
            nib.save(picture, partial / f"{name}.nii.gz")


def _row(scan: PhantomScan, path: str, mask: str) -> dict[str, object]:
    return {
        "path": path, "mask": mask, "label": scan.label, "scan": f"{scan.label}-{scan.seed}",
        "seed": scan.seed, "phase": scan.phase, "side": scan.side,
        "habitus": round(scan.habitus, 4), "noise": round(scan.noise, 2),
        "kernel": round(scan.kernel, 4), "slice_mm": scan.spacing[0], "pixel_mm": scan.spacing[1],
    }  # fmt: skip


def _dicom_slice(scan: PhantomScan, index: int) -> pydicom.Dataset:
    def uid(*what: object) -> UID:
        shape = scan.hu.shape
        return generate_uid(entropy_srcs=[str(x) for x in (scan.seed, scan.label, shape, *what)])

    slice_mm, row_mm, column_mm = scan.spacing
    slices, rows, columns = scan.hu.shape
    stored = (scan.hu[index].astype(np.int32) - _RESCALE_INTERCEPT).astype("<u2")
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = uid("slice", index)
    values: dict[str, object] = {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": uid("slice", index),
        "StudyInstanceUID": uid("study"),
        "SeriesInstanceUID": uid("series"),
        "FrameOfReferenceUID": uid("frame"),
        "PatientID": f"PHANTOM-{scan.seed}",
        "PatientName": f"Phantom^{scan.seed}",
        "PatientBirthDate": "",
        "PatientSex": "",
        "StudyDate": "20000101",  # the same in every file: a phantom was never scanned
        "StudyTime": "000000",
        "StudyID": "1",
        "AccessionNumber": "",
        "ReferringPhysicianName": "",
        "Modality": "CT",
        "Manufacturer": "Kidney Tumor Identification System, numerical phantom",
        "ImageType": ["DERIVED", "PRIMARY", "AXIAL"],
        "SeriesNumber": 1,
        "AcquisitionNumber": 1,
        "InstanceNumber": index + 1,
        "SeriesDescription": f"Abdomen {scan.phase}",
        "BodyPartExamined": "ABDOMEN",
        "PatientPosition": "HFS",
        "PositionReferenceIndicator": "",
        "KVP": 120,
        "SliceThickness": slice_mm,
        "SpacingBetweenSlices": slice_mm,
        # DICOM's frame: x to the left, y to the back, z to the head, so rows and columns run on.
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "ImagePositionPatient": [
            round(-(columns - 1) / 2 * column_mm, 4),
            round(-(rows - 1) / 2 * row_mm, 4),
            round(((slices - 1) / 2 - index) * slice_mm, 4),
        ],
        "PixelSpacing": [row_mm, column_mm],
        "Rows": rows,
        "Columns": columns,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
        "RescaleIntercept": _RESCALE_INTERCEPT,
        "RescaleSlope": 1,
        "RescaleType": "HU",
        "WindowCenter": 40,
        "WindowWidth": 400,
    }
    if scan.phase != "non-contrast":
        values["ContrastBolusAgent"] = "iodine"
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    dataset.PixelData = stored.tobytes()
    return dataset


def _check_empty(folder: Path) -> None:
    """Refuse to put files among others: a reader of the folder could not tell them apart."""
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists():
        raise DataError(
            f"Expected {folder} to be a new or empty folder, but it has content.",
            "Name another folder, or empty this one.",
        )


@contextmanager
def _written_whole(folder: Path) -> Iterator[Path]:
    try:
        with whole_folder(folder) as partial:
            yield partial
    except OSError as error:
        raise DataError(
            f"Could not write the phantom to {folder}: {error}.",
            "Check the free space and the rights of the folder.",
        ) from error
