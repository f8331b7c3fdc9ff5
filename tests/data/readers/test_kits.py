"""KiTS23: cases and their list are read as they are published, whole or in part."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from omegaconf import OmegaConf

from kidney.data.phantom.scan import PhantomScan, generate_scan
from kidney.data.readers.interface import RawSlice, Refused
from kidney.data.readers.kits import SUBTYPES, read
from kidney.errors import ConfigError, DataError
from tests.helpers.readers import run

CONF = Path(__file__).parents[3] / "conf" / "data"
FINDINGS = {"normal": [1], "cyst": [3], "tumor": [2]}
# What kits23.json says of these: clear cell, chromophobe, clear cell papillary, null.
CLEAR, CHROMOPHOBE, OTHER, UNKNOWN = "case_00000", "case_00003", "case_00056", "case_00461"


def classes_of(name: str) -> dict[str, Any]:
    config = OmegaConf.load(CONF / f"{name}.yaml")
    return dict(OmegaConf.to_container(config.classes))  # type: ignore[arg-type]


def write_case(folder: Path, scan: PhantomScan) -> Path:
    """Write a case as KiTS does: voxel axes are slices from the head, rows and columns."""
    folder.mkdir(parents=True)
    slice_mm, row_mm, column_mm = scan.spacing
    affine = np.array(
        [[0, 0, -column_mm, 0], [0, -row_mm, 0, 0], [-slice_mm, 0, 0, 0], [0, 0, 0, 1]]
    )
    for name, volume in (("imaging", scan.hu), ("segmentation", scan.masks)):
        nib.save(nib.Nifti1Image(volume, affine), folder / f"{name}.nii.gz")
    return folder


@pytest.fixture(scope="session")
def real_list(shared: Path) -> list[dict[str, Any]]:
    return list(json.loads((shared / "data" / "kits23.json").read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def scans() -> dict[str, PhantomScan]:
    return {label: generate_scan(2, label, 96, 5) for label in ("normal", "cyst", "tumor")}


@pytest.fixture
def raw(tmp_path: Path, shared: Path, scans: dict[str, PhantomScan]) -> Path:
    """Four of the 489 cases, as the repository holds them, one folder down."""
    dataset = tmp_path / "kits23" / "dataset"
    for case in (CLEAR, CHROMOPHOBE, OTHER, UNKNOWN):
        write_case(dataset / case, scans["tumor"])
    shutil.copy(shared / "data" / "kits23.json", dataset)
    return tmp_path


def by_finding(raw: Path, **settings: Any) -> tuple[list[RawSlice], list[Refused]]:
    return run(read(raw, **({"classes": FINDINGS} | settings)))


def by_subtype(raw: Path, **settings: Any) -> tuple[list[RawSlice], list[Refused]]:
    defaults = {"classes": classes_of("kits_subtypes"), "label_by": "subtype"}
    return run(read(raw, **(defaults | settings)))


def test_slices_are_labelled_by_what_they_show(
    tmp_path: Path, scans: dict[str, PhantomScan]
) -> None:
    for number, scan in enumerate(scans.values()):
        write_case(tmp_path / f"case_0000{number}", scan)
    slices, refused = by_finding(tmp_path)  # no case list: findings do not need one
    assert refused == []
    assert Counter((s.scan, s.label) for s in slices) == {
        ("case_00000", "normal"): 5,
        ("case_00001", "cyst"): 5,
        ("case_00002", "tumor"): 5,
    }
    assert all(s.patient == s.scan for s in slices)
    assert {(s.phase, s.plane, s.window) for s in slices} == {("enhanced", "axial", "400/40")}


def test_slices_lie_as_radiologists_see_them(raw: Path, scans: dict[str, PhantomScan]) -> None:
    scan = scans["tumor"]
    slices, _ = by_finding(raw)
    for one in slices[:5]:
        hu = scan.hu[one.frame]
        inside = (hu > -150) & (hu < 230)
        expected = (hu[inside] + 160) / 400 * 255
        np.testing.assert_allclose(one.pixels[inside], expected, atol=1.5)
    assert [one.frame for one in slices[:5]] == [0, 1, 2, 3, 4]
    assert slices[0].path == f"kits23/dataset/{CLEAR}/imaging.nii.gz"
    assert slices[0].slice_mm == pytest.approx(scan.spacing[0], rel=1e-5)
    assert slices[0].pixel_mm == pytest.approx(scan.spacing[1], rel=1e-5)


def test_slices_are_labelled_by_the_histology_of_their_tumour(raw: Path) -> None:
    slices, refused = by_subtype(raw)
    assert Counter((s.patient, s.label) for s in slices) == {
        (CLEAR, "clear_cell_rcc"): 5,
        (CHROMOPHOBE, "chromophobe_rcc"): 5,
    }
    # The third has a subtype of no class and the fourth none at all: neither is an error.
    assert [(r.path.split("/")[-2], r.expected) for r in refused] == [
        (OTHER, True),
        (UNKNOWN, True),
    ]
    assert "the subtype clear_cell_papillary, which is in no class" in refused[0].reason
    assert "the subtype null" in refused[1].reason


def test_a_class_can_hold_several_subtypes(raw: Path) -> None:
    classes = {"clear": ["clear_cell_rcc", "clear_cell_papillary"]}
    assert Counter(s.patient for s in by_subtype(raw, classes=classes)[0]) == {CLEAR: 5, OTHER: 5}


def test_by_subtype_slices_without_tumour_are_left_out(
    raw: Path, scans: dict[str, PhantomScan]
) -> None:
    shutil.rmtree(raw / "kits23" / "dataset" / CLEAR)
    masks = scans["tumor"].masks.copy()
    masks[1:3][masks[1:3] == 2] = 1
    half = PhantomScan(**(vars(scans["tumor"]) | {"masks": masks}))
    write_case(raw / "kits23" / "dataset" / CLEAR, half)
    slices, _ = by_subtype(raw)
    assert [s.frame for s in slices if s.patient == CLEAR] == [0, 3, 4]


@pytest.mark.parametrize(
    ("classes", "counts"),
    [
        ({"tumor": 2, "normal": 1}, {"normal": 5, "tumor": 5}),  # a cyst is not normal
        ({"cyst": 3, "normal": [1]}, {"normal": 5, "cyst": 5}),
        ({"cyst": [3]}, {"cyst": 5}),
        ({"normal": [1]}, {"normal": 5}),
        ({"normal": [1], "lesion": [2, 3]}, {"normal": 5, "lesion": 10}),
    ],
)
def test_findings_in_no_class_are_left_out(
    tmp_path: Path, scans: dict[str, PhantomScan], classes: dict[str, Any], counts: dict[str, int]
) -> None:
    for number, scan in enumerate(scans.values()):
        write_case(tmp_path / f"case_0000{number}", scan)
    assert Counter(s.label for s in by_finding(tmp_path, classes=classes)[0]) == counts


def test_tumour_comes_before_cyst_whatever_the_order_of_classes(
    tmp_path: Path, scans: dict[str, PhantomScan]
) -> None:
    masks = scans["tumor"].masks.copy()
    masks[:, :10, :10] = 3
    both = PhantomScan(**(vars(scans["tumor"]) | {"masks": masks}))
    write_case(tmp_path / "case_00000", both)
    slices, _ = by_finding(tmp_path, classes={"cyst": [3], "normal": [1], "tumor": [2]})
    assert Counter(s.label for s in slices) == {"tumor": 5}


@pytest.mark.parametrize("missing", ["imaging", "segmentation"])
@pytest.mark.parametrize("take", [by_finding, by_subtype])
def test_a_case_with_one_of_its_files_is_refused(raw: Path, missing: str, take: Any) -> None:
    there = {"imaging": "segmentation", "segmentation": "imaging"}[missing]
    (raw / "kits23" / "dataset" / CLEAR / f"{missing}.nii.gz").unlink()
    slices, refused = take(raw)
    assert CHROMOPHOBE in {s.patient for s in slices}
    assert CLEAR not in {s.patient for s in slices}
    assert f"kits23/dataset/{CLEAR}/{there}.nii.gz" in {r.path for r in refused}
    assert len([r for r in refused if "in no class" not in r.reason]) == 1


@pytest.mark.parametrize("take", [by_finding, by_subtype])
def test_a_case_that_is_not_in_the_list_is_refused(raw: Path, take: Any) -> None:
    dataset = raw / "kits23" / "dataset"
    (dataset / CLEAR).rename(dataset / "case_99999")
    slices, refused = take(raw)
    assert "case_99999" not in {s.patient for s in slices}
    (unknown,) = [r for r in refused if not r.expected]
    assert unknown.path == "kits23/dataset/case_99999/imaging.nii.gz"
    assert "case_99999 in kits23.json" in unknown.reason


def test_a_broken_case_is_refused(raw: Path) -> None:
    (raw / "kits23" / "dataset" / CLEAR / "imaging.nii.gz").write_bytes(b"no volume")
    slices, refused = by_finding(raw)
    assert {s.patient for s in slices} == {CHROMOPHOBE, OTHER, UNKNOWN}
    assert [r.path for r in refused] == [f"kits23/dataset/{CLEAR}/imaging.nii.gz"]


def test_subtypes_need_the_case_list(raw: Path) -> None:
    (raw / "kits23" / "dataset" / "kits23.json").unlink()
    with pytest.raises(DataError, match=r"dataset/kits23\.json of github\.com"):
        by_subtype(raw)


@pytest.mark.parametrize("text", ["[{", "{}x", "[1]", '[{"case_id": "case_00000"}]'])
def test_a_case_list_that_is_none_is_an_error(raw: Path, text: str) -> None:
    (raw / "kits23" / "dataset" / "kits23.json").write_text(text)
    with pytest.raises(DataError, match=r"Expected kits23/dataset/kits23\.json to list cases"):
        by_finding(raw)


@pytest.mark.parametrize(
    ("label_by", "classes"),
    [
        ("histology", FINDINGS),
        ("subtype", FINDINGS),
        ("subtype", {"clear": ["clear_cell"]}),
        ("finding", {"tumor": [2, 3], "cyst": [3]}),
        ("finding", {"tumor": [4]}),
    ],
)
def test_classes_that_cannot_be_dealt_are_a_mistake(
    tmp_path: Path, label_by: str, classes: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match="Expected data"):
        read(tmp_path, classes=classes, label_by=label_by)


def test_the_published_list_holds_the_subtypes_and_patients_that_the_yaml_counts(
    real_list: list[dict[str, Any]],
) -> None:
    counts = Counter(case["tumor_histologic_subtype"] for case in real_list)
    assert set(SUBTYPES) == set(counts) - {None}
    taken = {subtype: label for label, s in classes_of("kits_subtypes").items() for subtype in s}
    text = (CONF / "kits_subtypes.yaml").read_text(encoding="utf-8")
    for subtype, label in taken.items():
        assert f"{label}: [{subtype}]" in text
        assert f"# {counts[subtype]}" in text.split(f"[{subtype}]")[1].split("\n")[0]
    left_out = sum(count for subtype, count in counts.items() if subtype not in taken)
    assert f"left out ({left_out} patients)" in text
    for subtype in set(SUBTYPES) - set(taken):
        assert f"{subtype} {counts[subtype]}" in text
