"""DICOM series: scans in order, no id of a hospital in what leaves, broken files refused."""

import dataclasses
import hashlib
import math
import os
import shutil
import stat
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest

from kidney.data.phantom.files import write_dicom_series
from kidney.data.phantom.scan import PhantomScan, generate_scan
from kidney.data.readers.dicom_series import read
from kidney.data.readers.interface import RawSlice, Refused
from kidney.errors import ConfigError
from tests.helpers.readers import run

CLASSES = {"normal": "Normal", "tumor": "Tumor"}


@pytest.fixture(autouse=True)
def no_salt_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KIDNEY_SALT", raising=False)


@pytest.fixture(scope="module")
def scans() -> list[PhantomScan]:
    """Two scans of one patient: the seed makes the PatientID, seed and label the series."""
    return [generate_scan(1, label, 96, 5) for label in ("normal", "tumor")]


@pytest.fixture
def raw(tmp_path: Path, scans: list[PhantomScan]) -> Path:
    """A data set's folder with both scans in its raw folder, which is what is returned."""
    folder = tmp_path / "data" / ".raw.partial"
    for scan in scans:
        write_dicom_series(folder / "export" / CLASSES[scan.label] / "series", scan)
    return folder


def of(raw: Path, **settings: str) -> tuple[list[RawSlice], list[Refused]]:
    return run(read(raw, classes=CLASSES, **settings))


def copy(file: Path, name: str) -> Path:
    return Path(shutil.copy(file, file.with_name(name)))


def changed(path: Path, **values: object) -> None:
    """Set attributes of a DICOM file; None removes one."""
    dataset = pydicom.dcmread(path)
    for keyword, value in values.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.save_as(path, enforce_file_format=True)


def test_series_are_read_head_first_with_what_their_headers_say(
    raw: Path, scans: list[PhantomScan]
) -> None:
    slices, refused = of(raw, window="350/50")
    assert refused == []
    assert len(slices) == 10
    for scan in scans:
        mine = [s for s in slices if s.label == scan.label]
        folder = f"export/{CLASSES[scan.label]}/series"
        assert [s.path for s in mine] == [f"{folder}/slice-{n:03d}.dcm" for n in range(1, 6)]
        assert len({(s.scan, s.patient) for s in mine}) == 1
        for one in mine:
            assert one.sha256 == hashlib.sha256((raw / one.path).read_bytes()).hexdigest()
            assert (one.phase, one.plane, one.window) == ("enhanced", "axial", "350/50")
            assert math.isclose(one.pixel_mm, scan.spacing[1], rel_tol=1e-4)
            assert math.isclose(one.slice_mm, scan.spacing[0], rel_tol=1e-3)
            assert (one.frame, one.doubt) == (0, "")
        soft = (scan.hu > -100) & (scan.hu < 200)
        shown = np.stack([one.pixels for one in mine])[soft]
        np.testing.assert_allclose(shown, (scan.hu[soft] + 125) / 350 * 255, atol=1.5)


def test_the_position_and_not_the_name_orders_the_slices(raw: Path) -> None:
    folder = raw / "export" / "Tumor" / "series"
    before = [s.sha256 for s in of(raw)[0] if s.label == "tumor"]
    for number, file in enumerate(sorted(folder.iterdir(), reverse=True)):
        file.rename(folder / f"IM{number}")  # without a suffix, last slice first
    after = [s for s in of(raw)[0] if s.label == "tumor"]
    assert [s.sha256 for s in after] == before
    assert [Path(s.path).name for s in after] == ["IM4", "IM3", "IM2", "IM1", "IM0"]


def test_a_series_is_cut_into_short_tasks(tmp_path: Path) -> None:
    scan = generate_scan(5, "normal", 96, 2)
    volumes = {"hu": np.tile(scan.hu, (20, 1, 1)), "masks": np.tile(scan.masks, (20, 1, 1))}
    write_dicom_series(tmp_path / "raw" / "Normal", PhantomScan(**(vars(scan) | volumes)))
    assert [len(task()) for task in read(tmp_path / "raw", classes=CLASSES)] == [16, 16, 8]


def test_a_slice_in_no_class_folder_is_left_to_corrections(tmp_path: Path) -> None:
    write_dicom_series(tmp_path / "raw" / "somewhere", generate_scan(1, "normal", 96, 2))
    slices, refused = of(tmp_path / "raw")
    assert refused == []
    assert [s.label for s in slices] == ["", ""]
    assert all("in no folder of a class" in s.doubt for s in slices)


def test_the_innermost_class_folder_labels(tmp_path: Path) -> None:
    write_dicom_series(
        tmp_path / "raw" / "Normal" / "Tumor" / "x", generate_scan(1, "tumor", 96, 1)
    )
    assert [s.label for s in of(tmp_path / "raw")[0]] == ["tumor"]


def test_plain_scans_say_so_and_a_window_of_the_file_does_not_count(tmp_path: Path) -> None:
    scan = generate_scan(0, "normal", 96, 1)
    assert scan.phase == "non-contrast"
    (file,) = write_dicom_series(tmp_path / "raw" / "Normal", scan)
    changed(file, WindowCenter=-600, WindowWidth=1500)
    (one,), _ = of(tmp_path / "raw")
    assert one.phase != "enhanced"
    assert one.window == "400/40"
    body = (scan.hu[0] > -150) & (scan.hu[0] < 230)
    np.testing.assert_allclose(one.pixels[body], (scan.hu[0][body] + 160) / 400 * 255, atol=1.5)


def test_ids_of_the_hospital_do_not_leave(raw: Path) -> None:
    secrets = ["4711-0815", "Miller^Anna"]
    header = None
    for file in raw.rglob("*.dcm"):
        changed(file, PatientID=secrets[0], PatientName=secrets[1], AccessionNumber="A-9922")
        header = pydicom.dcmread(file)
    (raw / "export" / "broken.dcm").write_bytes(next(raw.rglob("*.dcm")).read_bytes()[:900])
    assert header is not None
    secrets += ["A-9922", header.SeriesInstanceUID, header.StudyInstanceUID, header.SOPInstanceUID]
    slices, refused = of(raw)
    assert len(slices) == 10
    for item in [*slices, *refused]:
        values = {k: v for k, v in dataclasses.asdict(item).items() if k != "pixels"}
        assert not [secret for secret in secrets if secret in str(values)]
    plain = hashlib.sha256(secrets[0].encode()).hexdigest()
    assert not any(s.patient in plain for s in slices)


def test_a_patient_has_one_name_in_all_series_and_a_scan_its_own(raw: Path) -> None:
    slices, _ = of(raw)
    assert len({s.patient for s in slices}) == 1
    assert len({s.scan for s in slices}) == 2
    for name in {s.patient for s in slices} | {s.scan for s in slices}:
        assert len(name) == 12
        assert set(name) <= set("0123456789abcdef")


def patients_of(raw: Path) -> dict[str, str]:
    """Read all and return the patient of each series by the folder that it lies in."""
    return {s.path.split("/")[-2]: s.patient for s in of(raw)[0]}


def test_two_patients_have_two_names_and_one_without_a_study_has_none(raw: Path) -> None:
    write_dicom_series(raw / "Normal" / "other", generate_scan(2, "normal", 96, 1))
    for number, folder in enumerate(("nobody", "nowhere"), start=3):
        for file in write_dicom_series(raw / folder, generate_scan(number, "tumor", 96, 1)):
            changed(file, PatientID="", StudyInstanceUID="")
    patients = patients_of(raw)
    assert patients["nobody"] == patients["nowhere"] == ""
    assert len({patients["other"], patients["series"], ""}) == 3


@pytest.mark.parametrize("ids", [("", "", ""), ("A", "", "B"), ("", "A", "B"), (None, "A", "B")])
def test_series_of_one_study_are_of_one_patient_also_where_ids_are_blank(
    tmp_path: Path, ids: tuple[str | None, ...]
) -> None:
    for number, patient in enumerate(ids):
        study = "1.2.3" if number < 2 else "1.2.4"
        scan = generate_scan(number, "tumor", 96, 1)
        for file in write_dicom_series(tmp_path / "raw" / f"series{number}", scan):
            changed(file, PatientID=patient, StudyInstanceUID=study)
    patients = patients_of(tmp_path / "raw")
    assert patients["series0"] == patients["series1"]
    assert len({patients["series1"], patients["series2"], ""}) == 3


def test_one_uid_for_all_does_not_make_one_patient_or_scan_of_two(tmp_path: Path) -> None:
    for number in range(2):
        scan = generate_scan(number, "tumor", 96, 2)
        for file in write_dicom_series(tmp_path / "raw" / f"series{number}", scan):
            changed(file, StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.4")
    slices, _ = of(tmp_path / "raw")
    assert len({s.patient for s in slices}) == 2
    assert (
        len({(s.scan, s.path.split("/")[0]) for s in slices}) == len({s.scan for s in slices}) == 2
    )


def test_folders_of_classes_may_be_numbers(tmp_path: Path) -> None:
    write_dicom_series(tmp_path / "raw" / "1" / "x", generate_scan(1, "tumor", 96, 1))
    slices, _ = run(read(tmp_path / "raw", classes={"normal": 0, "tumor": 1}))
    assert [s.label for s in slices] == ["tumor"]


def test_the_salt_is_made_once_and_is_only_for_its_owner(raw: Path) -> None:
    first, _ = of(raw)
    salt = raw.parent / "salt"
    assert stat.S_IMODE(salt.stat().st_mode) == 0o600
    text = salt.read_text()
    assert len(text.strip()) == 64
    again, _ = of(raw)
    assert salt.read_text() == text
    assert [(s.scan, s.patient) for s in again] == [(s.scan, s.patient) for s in first]
    assert sorted(p.name for p in raw.parent.iterdir()) == [".raw.partial", "salt"]
    salt.unlink()
    other, _ = of(raw)
    assert not {s.patient for s in other} & {s.patient for s in first}
    assert not {s.scan for s in other} & {s.scan for s in first}


def test_a_salt_of_the_environment_goes_before_the_file(
    raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_file, _ = of(raw)
    monkeypatch.setenv("KIDNEY_SALT", "0123456789abcdef")
    given, _ = of(raw)
    (raw.parent / "salt").unlink()
    again, _ = of(raw)
    assert [s.scan for s in given] == [s.scan for s in again]
    assert not {s.patient for s in given} & {s.patient for s in of_file}
    assert not (raw.parent / "salt").exists()


def test_where_series_have_no_uid_their_folders_tell_them_apart(raw: Path) -> None:
    (raw / "export").rename(raw / os.fsdecode(b"export \xff"))
    for file in raw.rglob("*.dcm"):
        changed(file, StudyInstanceUID="", SeriesInstanceUID="")
    slices, refused = of(raw)
    assert refused == []
    assert len({s.scan for s in slices if s.label == "normal"} - {""}) == 1
    assert len({s.scan for s in slices} - {""}) == 2


@pytest.mark.parametrize("where", ["environment", "file"])
def test_a_salt_that_can_be_guessed_is_a_mistake(
    raw: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    if where == "file":
        (raw.parent / "salt").write_text("\n")
    else:
        monkeypatch.setenv("KIDNEY_SALT", "kidney")
    with pytest.raises(ConfigError, match="at least 16 characters"):
        of(raw)


def test_broken_and_foreign_files_are_refused_by_name_and_the_others_read(raw: Path) -> None:
    good = raw / "export" / "Tumor" / "series" / "slice-003.dcm"
    data = good.read_bytes()
    good.write_bytes(data[:-2000])  # the header is there, pixels are missing
    (raw / "export" / "Tumor" / "empty").touch()
    (raw / "export" / "Tumor" / "page.bin").write_bytes(b"<html>404</html>" * 99)
    (raw / "export" / "Tumor" / "cut").write_bytes(data[:100])
    scout = raw / "export" / "Tumor" / "scout.dcm"
    scout.write_bytes(data)
    changed(scout, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], SeriesInstanceUID="1.2.3")
    magnet = raw / "export" / "Tumor" / "mr.dcm"
    magnet.write_bytes(data)
    changed(magnet, Modality="MR", SeriesInstanceUID="1.2.4")
    slices, refused = of(raw)
    assert len(slices) == 9
    names = ["cut", "empty", "mr.dcm", "page.bin", "scout.dcm", "slice-003.dcm"]
    assert sorted(Path(r.path).name for r in refused) == names
    assert all(r.path.startswith("export/Tumor/") and len(r.reason) > 20 for r in refused)
    reasons = {Path(r.path).name: r.reason for r in refused}
    assert all(name in reason for name, reason in reasons.items())
    assert len(set(reasons.values())) == 6


def test_files_that_go_with_an_export_are_passed_over(raw: Path) -> None:
    for name in ("DICOMDIR", "list.csv", "readme.TXT", "meta.json", ".DS_Store"):
        (raw / "export" / name).write_bytes(b"no slice")
    slices, refused = of(raw)
    assert (len(slices), refused) == (10, [])


def test_without_a_series_there_is_no_salt(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    assert of(tmp_path / "raw") == ([], [])
    assert not (tmp_path / "salt").exists()


def test_frames_of_one_file_are_slices_of_one_scan(tmp_path: Path) -> None:
    scan = generate_scan(1, "tumor", 96, 3)
    files = write_dicom_series(tmp_path / "raw" / "Tumor", scan)
    stored = b"".join(pydicom.dcmread(file).PixelData for file in files)
    changed(files[0], NumberOfFrames=3, PixelData=stored)
    for file in files[1:]:
        file.unlink()
    slices, refused = of(tmp_path / "raw")
    assert refused == []
    assert [s.frame for s in slices] == [0, 1, 2]
    assert len({s.scan for s in slices}) == 1
    assert math.isclose(slices[0].slice_mm, scan.spacing[0], rel_tol=1e-4)
    assert {s.path for s in slices} == {"Tumor/slice-001.dcm"}
    copy(files[0], "copy.dcm")
    slices, refused = of(tmp_path / "raw")
    assert len(slices) == 3
    assert "the same object again" in refused[0].reason
    digests = [hashlib.sha256(s.pixels.tobytes()).hexdigest() for s in slices]
    assert [s.sha256 for s in slices] == digests
    assert len(set(digests)) == 3


def test_a_real_series_is_one_scan_from_head_to_feet(tmp_path: Path, shared: Path) -> None:
    with zipfile.ZipFile(shared / "data" / "ct-dicom-series.zip") as packed:
        packed.extractall(tmp_path / "raw")
    slices, refused = of(tmp_path / "raw")
    assert refused == []
    assert len(slices) == 20
    assert len({s.scan for s in slices}) == 1
    heights = [
        pydicom.dcmread(tmp_path / "raw" / s.path, stop_before_pixels=True).ImagePositionPatient[2]
        for s in slices
    ]
    assert heights == sorted(heights, reverse=True)
    step = np.diff(heights)
    np.testing.assert_allclose(-step, slices[0].slice_mm, rtol=1e-3)
    assert {s.plane for s in slices} == {"axial"}
    assert all(np.ptp(s.pixels) == 255 for s in slices)


def test_doubtful_slices_are_rejected_and_stacks_of_one_series_are_scans(raw: Path) -> None:
    first, *others = sorted((raw / "export" / "Tumor").rglob("*.dcm"))
    for path in others:
        dataset = pydicom.dcmread(path)
        dataset.SOPInstanceUID = pydicom.uid.generate_uid(entropy_srcs=[path.name])
        dataset.AcquisitionNumber = 2
        dataset.save_as(path.with_name(f"again-{path.name}"))
    dataset = pydicom.dcmread(first)
    dataset.PixelData = np.full_like(dataset.pixel_array, 1064).tobytes()
    dataset.save_as(first)
    slices, refused = of(raw)
    (doubtful,) = refused
    assert "doubtful: nothing in the slice is air" in doubtful.reason
    assert not doubtful.expected
    assert len({one.scan for one in slices if one.label == "tumor"}) == 2
