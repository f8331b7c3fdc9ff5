"""The objects that are stored: valid, of the right patient, at the right place, small."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from tests.dicom.conftest import NORMAL, TUMOUR, UNSURE, ct
from tests.helpers.dicom_files import as_bytes, changed
from tests.helpers.orthanc import Orthanc, complaints, read

pytest.importorskip("highdicom", reason="needs the extra dicom")

from kidney.dicom.answer import (
    Answer,
    Shown,
    SliceFinding,
    decision_of,
    decisive_slices,
    evidence_mask,
    shown_regions,
)
from kidney.dicom.report import build_report, finding_words
from kidney.dicom.sources import read_sources

Make = Callable[..., Any]
MISSING = (
    "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate", "StudyTime",
    "SliceThickness", "FrameOfReferenceUID",
)  # fmt: skip


def groups(report: pydicom.Dataset) -> list[pydicom.Dataset]:
    (measurements,) = (
        item for item in report.ContentSequence
        if item.get("ConceptNameCodeSequence")
        and item.ConceptNameCodeSequence[0].CodeMeaning == "Imaging Measurements"
    )  # fmt: skip
    return list(measurements.ContentSequence)


def items(group: pydicom.Dataset, name: str) -> list[pydicom.Dataset]:
    return [
        item for item in group.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeMeaning == name
    ]  # fmt: skip


def box(group: pydicom.Dataset) -> tuple[float, ...]:
    (region,) = items(group, "Image Region")
    points = np.array(region.GraphicData).reshape(-1, 2)
    return (*points.min(axis=0), *points.max(axis=0))


def written(folder: Path, files: list[bytes]) -> list[Path]:
    paths = [folder / f"{number}-{id(files)}.dcm" for number in range(len(files))]
    for path, data in zip(paths, files, strict=True):
        path.write_bytes(data)
    return paths


def test_a_report_says_what_where_how_sure_and_by_whom(orthanc: Orthanc, process: Make):
    files = ct(TUMOUR)
    orthanc.push(*files)
    process().once()
    (report,) = orthanc.reports()
    found = groups(report)
    of_tumours = [
        group for group in found
        if items(group, "Finding")[0].ConceptCodeSequence[0].CodeValue == "309088003"
    ]  # fmt: skip
    assert len(of_tumours) == 2
    for group in of_tumours:
        (probability,) = items(group, "Renal mass, probability")
        assert 10 < probability.MeasuredValueSequence[0].NumericValue <= 100
        (decision,) = items(group, "Decision on the series")
        assert decision.ConceptCodeSequence[0].CodeMeaning in ("Renal mass", "Needs a radiologist")
        (region,) = items(group, "Image Region")
        source = region.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        assert source in {read(data).SOPInstanceUID for data in files[1:3]}
        assert box(group) == pytest.approx((16, 8, 64, 56), abs=8)  # a cell has 8 pixels
        text = " ".join(str(item.get("TextValue", "")) for item in group.ContentSequence)
        assert "Renal mass" in text
        assert "Preliminary, research use only" in text
        assert "Model SHA-256: " in text
    assert report.VerificationFlag == "UNVERIFIED"


@pytest.mark.parametrize(("levels", "meaning"), [(NORMAL, "Normal"), ([-1000] * 4 + [-200], "")])
def test_every_group_has_a_region_and_a_probability(
    levels: list[int], meaning: str, orthanc: Orthanc, process: Make
):
    orthanc.push(*ct(levels))
    process().once()
    (report,) = orthanc.reports()
    found = groups(report)
    assert 1 <= len(found) <= 8
    for group in found:
        assert box(group)
        (finding,) = items(group, "Finding")
        assert meaning in finding.ConceptCodeSequence[0].CodeMeaning


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        ([-1, 0, 0, 0, -1, 0], lambda picture: picture[::-1, ::-1]),
        ([0, 1, 0, 1, 0, 0], lambda picture: picture.T),
        ([0, -1, 0, 1, 0, 0], lambda picture: picture.T[:, ::-1]),
    ],
    ids=["prone", "transposed", "turned"],
)
def test_regions_lie_on_the_pixels_as_they_are_stored(
    orientation: list[int], turn: Callable[..., Any], orthanc: Orthanc, process: Make
):
    files = []
    for data in ct(TUMOUR):
        stored = np.frombuffer(read(data).PixelData, dtype="<u2").reshape(64, 64)
        files.append(
            changed(data, ImageOrientationPatient=orientation, PixelData=turn(stored).tobytes())
        )
    orthanc.push(*files)
    process(segmentation=True).once()
    (report,) = orthanc.reports()
    bright = np.frombuffer(read(files[1]).PixelData, dtype="<u2").reshape(64, 64) > 1500
    rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
    expected = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    for group in groups(report):
        assert box(group) == pytest.approx(expected, abs=8)
    segmentation = read(orthanc.files("SEG")[0])
    frames = segmentation.pixel_array.reshape(-1, 64, 64).astype(bool)
    share = (frames & bright).sum() / frames.sum()
    assert frames.any()
    assert share > 0.75


def test_captures_and_segmentation_are_valid_and_few(
    orthanc: Orthanc, process: Make, tmp_path: Path
):
    files = ct([1000] * 12)
    orthanc.push(*files)
    process(captures=True, segmentation=True).once()
    captures, segmentations = orthanc.files("OT"), orthanc.files("SEG")
    assert 1 <= len(captures) <= 8
    (segmentation,) = segmentations
    made = written(tmp_path, [*captures, *segmentations, *orthanc.files("SR")])
    for path in made:
        assert complaints("dciodvfy", path) == ""
    assert complaints("dcentvfy", *made, *written(tmp_path, files)) == ""
    picture = read(captures[0]).pixel_array
    assert picture.shape == (512, 512, 3)
    yellow = (picture == (255, 214, 10)).all(axis=2)
    assert yellow[:100].sum() > 100  # words
    labels = {one.SegmentLabel for one in read(segmentation).SegmentSequence}
    assert "Renal mass" in labels


def test_what_a_device_leaves_out_is_no_reason_to_fail(
    orthanc: Orthanc, process: Make, tmp_path: Path
):
    for number, keyword in enumerate(MISSING):
        left_out = {keyword: None, "PatientID": f"P{number}"}
        orthanc.push(*[changed(data, **left_out) for data in ct(UNSURE)])
    bare = dict.fromkeys(MISSING)
    orthanc.push(*[changed(data, PatientID="bare", **bare) for data in ct(UNSURE)])
    process(captures=True, segmentation=True).once()
    reports = orthanc.files("SR")
    assert len(reports) == len(MISSING) + 1
    for path in written(tmp_path, [*reports, *orthanc.files("OT"), *orthanc.files("SEG")]):
        assert complaints("dciodvfy", path) == ""


@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        ("ISO_IR 100", "Müller^Jörg"),
        ("ISO_IR 192", "Żółć^Ąę=王^小東"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    ],
)
def test_names_survive_in_any_character_set(
    character_set: Any, name: str, orthanc: Orthanc, process: Make
):
    orthanc.push(
        *[
            changed(data, SpecificCharacterSet=character_set, PatientName=name)
            for data in ct(NORMAL)
        ]
    )
    process(captures=True).once()
    (report,) = orthanc.reports()
    assert report.SpecificCharacterSet == "ISO_IR 192"
    assert str(report.PatientName) == name
    assert str(read(orthanc.files("OT")[0]).PatientName) == name


def test_a_report_on_300_slices_is_small_and_quick():
    first = ct([0])[0]
    files = [
        changed(first, SOPInstanceUID=generate_uid(), InstanceNumber=number,
                ImagePositionPatient=[0, 0, -number])
        for number in range(300)
    ]  # fmt: skip
    sources = read_sources(files)
    answer = said(list(range(300)), list(range(8)))
    box = (8.0, 8.0, 16.0, 16.0)
    shown = [Shown(at, "tumor", 0.5, "tumor", answer.series[0], box, None, None) for at in range(8)]
    began = time.process_time()
    report = build_report(
        sources, answer, shown, generate_uid(), generate_uid(), 1, None
    )  # fmt: skip
    data = as_bytes(report)
    assert time.process_time() - began < 2
    assert len(data) < 100_000


def test_a_mask_holds_the_cells_of_the_peak_and_is_clipped():
    evidence = [[0.0, 4.0], [1.0, 2.0]]
    mask = evidence_mask(evidence, (-2.0, 0.0, 6.0, 8.0), (5, 8))
    expected = np.zeros((5, 8), dtype=bool)
    expected[:2, 4:] = True  # the upper cell begins above the slice
    expected[2:, 4:] = True  # half of the peak
    assert (mask == expected).all()
    assert not evidence_mask([[-1.0]], (0.0, 0.0, 5.0, 8.0), (5, 8)).any()


def said(slices: list[int], decisive: list[int], **found: object) -> Answer:
    """Return an answer on a tumour, as the server gives it."""
    finding = {
        "finding": "tumor", "suspected": True, "probability": 0.7, "side": None, "first": None,
        "last": None, "slices": decisive, "diameter_mm": None,
    }  # fmt: skip
    series = {
        "kind": "dicom", "slices": slices, "probabilities": {}, "label": "tumor",
        "decision": "needs_review", "decisive": decisive, "suspected": {"tumor": 0},
        "findings": [finding | found] if found else [],
    }  # fmt: skip
    one = {
        "frame": 1, "series": 0, "decision": "normal", "label": "normal", "suspected": [],
        "probabilities": {"normal": 0.9, "tumor": 0.1}, "size": [64, 64],
    }  # fmt: skip
    return Answer.model_validate(
        {
            "model": {"run": "r", "code": "c", "sha256": "0" * 64},
            "predictions": [one | {"file": at + 1} for at in range(len(slices))],
            "series": [series],
        }
    )


def test_what_the_server_says_of_a_finding_is_shown():
    answer = said([0, 1, 2, 3, 4], [3], side="left", first=2, last=4, diameter_mm=23.4)
    details = said([0], [0])
    details.predictions[0].findings = {"tumor": SliceFinding(probability=0.81, peak=(20.0, 63.0))}
    (shown,) = shown_regions(answer, details, decisive_slices(answer))
    assert finding_words(shown) == "Renal mass, left, 81%, 23 mm, slices 3 to 5"
    assert (shown.file, shown.name) == (3, "tumor")
    assert shown.box == (16.0, 59.0, 24.0, 64.0)  # around the peak, and in the slice


def test_stacks_of_one_series_take_turns():
    answer = said([0, 1, 2, 3, 4], [0, 1])
    answer.series.append(
        answer.series[0].model_copy(update={"slices": [5, 6, 7], "decisive": [], "decision": "x"})
    )
    assert decisive_slices(answer) == [0, 6, 1]
    assert decision_of(answer) == "needs_review"
