"""Phantom scans as files read back as what was drawn."""

import csv
from collections import defaultdict
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.pixels import apply_modality_lut

from kidney.data.phantom.files import write_class_folders, write_dicom_series, write_nifti
from kidney.data.phantom.scan import PhantomScan, generate_scan, generate_scans
from kidney.errors import ConfigError, DataError
from kidney.imaging.windows import to_grey

FOLDERS = {"normal": "Normal", "cyst": "Cyst", "tumor": "Tumor", "stone": "Stone"}


@pytest.fixture(scope="module")
def kaggle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom") / "set"
    write_class_folders(folder, scans_per_class=2, seed=3, size=96, max_slices=4)
    return folder


@pytest.fixture(scope="module")
def scan() -> PhantomScan:
    return generate_scan(6, "stone", 96, 5)


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "phantom.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_class_folders_are_named_and_numbered_as_the_real_set(kaggle: Path) -> None:
    assert {path.name for path in kaggle.iterdir()} == {*FOLDERS.values(), "masks", "phantom.csv"}
    for folder in FOLDERS.values():
        names = {path.name for path in (kaggle / folder).iterdir()}
        assert names == {f"{folder}- ({number}).jpg" for number in range(1, 9)}


def test_table_tells_the_truth_about_each_picture(kaggle: Path) -> None:
    rows = rows_of(kaggle)
    pictures = {str(p.relative_to(kaggle).as_posix()) for p in kaggle.glob("[!m]*/*.jpg")}
    assert {row["path"] for row in rows} == pictures
    labels = defaultdict(set)
    for row in rows:
        assert row["path"].startswith(FOLDERS[row["label"]] + "/")
        labels[row["scan"]].add(row["label"])
    assert len(labels) == 8
    assert all(len(label) == 1 for label in labels.values())


def test_pictures_and_masks_are_those_of_the_scans(kaggle: Path) -> None:
    rows = iter(rows_of(kaggle))
    for scan in generate_scans(2, seed=3, size=96, max_slices=4):
        for hu, mask in zip(scan.hu, scan.masks, strict=True):
            row = next(rows)
            assert (row["label"], row["phase"], row["side"]) == (scan.label, scan.phase, scan.side)
            grey = np.asarray(Image.open(kaggle / row["path"]))
            assert grey.dtype == np.uint8
            assert np.abs(grey.astype(int) - to_grey(hu)).mean() < 3  # JPEG
            np.testing.assert_array_equal(np.asarray(Image.open(kaggle / row["mask"])), mask)
    assert next(rows, None) is None


def test_png_pictures_are_lossless(tmp_path: Path) -> None:
    options = {"scans_per_class": 1, "seed": 2, "size": 64, "max_slices": 1}
    write_class_folders(tmp_path / "set", **options, picture_format="png")
    first = next(generate_scans(**options))
    picture = np.asarray(Image.open(tmp_path / "set" / "Normal" / "Normal- (1).png"))
    np.testing.assert_array_equal(picture, to_grey(first.hu[0]))


def test_a_set_replaces_an_older_set_but_no_other_files(tmp_path: Path) -> None:
    def write(scans: int) -> None:
        write_class_folders(tmp_path, scans_per_class=scans, size=64, max_slices=1)

    write(2)
    write(1)
    assert len(rows_of(tmp_path)) == 4
    assert len(list((tmp_path / "Cyst").iterdir())) == 1
    (tmp_path / "phantom.csv").rename(tmp_path / "thesis.csv")
    with pytest.raises(DataError, match="has content"):
        write(1)
    assert (tmp_path / "thesis.csv").is_file()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="file"):
        write_class_folders(tmp_path / "file" / "set", scans_per_class=1, size=64, max_slices=1)
    with pytest.raises(ConfigError, match="tiff"):
        write_class_folders(tmp_path / "set", picture_format="tiff")
    with pytest.raises(ConfigError, match="scans_per_class"):
        write_class_folders(tmp_path / "set", scans_per_class=0)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_dicom_series_gives_hu_and_geometry_back(tmp_path: Path, scan: PhantomScan) -> None:
    files = write_dicom_series(tmp_path / "series", scan)
    assert sorted((tmp_path / "series").iterdir()) == files
    read = [pydicom.dcmread(file) for file in files]
    np.testing.assert_array_equal(
        np.stack([apply_modality_lut(d.pixel_array, d) for d in read]), scan.hu
    )
    first = read[0]
    assert first.SOPClassUID == pydicom.uid.CTImageStorage
    assert first.PixelSpacing == list(scan.spacing[1:])
    assert [d.InstanceNumber for d in read] == [1, 2, 3, 4, 5]
    assert len({d.SOPInstanceUID for d in read}) == 5
    assert {d.SOPInstanceUID for d in read} == {
        d.file_meta.MediaStorageSOPInstanceUID for d in read
    }
    assert (
        len({(d.StudyInstanceUID, d.SeriesInstanceUID, d.FrameOfReferenceUID) for d in read}) == 1
    )
    assert first.StudyInstanceUID != first.SeriesInstanceUID
    # Head first: each slice lies one spacing nearer to the feet.
    heights = [d.ImagePositionPatient[2] for d in read]
    np.testing.assert_allclose(np.diff(heights), -scan.spacing[0], atol=1e-3)


def test_dicom_uids_follow_the_scan(tmp_path: Path, scan: PhantomScan) -> None:
    def uids(name: str, what: PhantomScan) -> list[str]:
        return [
            pydicom.dcmread(f).SOPInstanceUID for f in write_dicom_series(tmp_path / name, what)
        ]

    assert uids("first", scan) == uids("again", scan)
    assert not set(uids("ill", scan)) & set(uids("well", generate_scan(6, "normal", 96, 5)))


def test_nifti_gives_hu_masks_and_orientation_back(tmp_path: Path, scan: PhantomScan) -> None:
    write_nifti(tmp_path / "volume", scan)
    image = nib.load(tmp_path / "volume" / "image.nii.gz")
    labels = nib.load(tmp_path / "volume" / "labels.nii.gz")
    assert image.get_data_dtype() == np.int16
    assert labels.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.asarray(image.dataobj).transpose(2, 1, 0), scan.hu)
    np.testing.assert_array_equal(np.asarray(labels.dataobj).transpose(2, 1, 0), scan.masks)
    np.testing.assert_allclose(image.affine, labels.affine)
    np.testing.assert_allclose(image.header.get_zooms(), scan.spacing[::-1], rtol=1e-5)
    # Columns run to the left, rows to the back, slices to the feet.
    assert nib.aff2axcodes(image.affine) == ("L", "P", "I")


def test_nifti_in_standard_axes_has_the_finding_on_its_side(tmp_path: Path) -> None:
    for seed in (0, 1, 2, 3, 4, 5):
        scan = generate_scan(seed, "cyst", 96, 2)
        write_nifti(tmp_path / str(seed), scan)
        labels = nib.as_closest_canonical(nib.load(tmp_path / str(seed) / "labels.nii.gz"))
        volume = np.asarray(labels.dataobj)
        rightward = np.nonzero(volume == 3)[0].mean() - np.nonzero(volume)[0].mean()
        assert scan.side == ("right" if rightward > 0 else "left")


def test_series_are_not_mixed_with_files_that_are_there(tmp_path: Path, scan: PhantomScan) -> None:
    (tmp_path / "other.dcm").write_bytes(b"another series")
    for write in (write_dicom_series, write_nifti):
        with pytest.raises(DataError, match="new or empty"):
            write(tmp_path, scan)
    assert [path.name for path in tmp_path.iterdir()] == ["other.dcm"]
