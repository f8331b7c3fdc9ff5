"""NIfTI volumes: files are paired, masks label the slices, what is broken is refused."""

import math
import shutil
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from omegaconf import OmegaConf

from kidney.data.phantom.files import write_nifti
from kidney.data.phantom.scan import PhantomScan, generate_scan
from kidney.data.readers.interface import RawSlice, Refused
from kidney.data.readers.volumes import find_cases, label_of_slice, read
from kidney.errors import ConfigError
from tests.helpers.readers import run

VALUES = {"tumor": [2], "cyst": [3], "normal": 1}
FILES = {"image": "image.nii.gz", "mask": "labels.nii.gz"}


@pytest.fixture(scope="module")
def scan() -> PhantomScan:
    return generate_scan(1, "cyst", 96, 5)


@pytest.fixture
def raw(tmp_path: Path, scan: PhantomScan) -> Path:
    """One case in a nested folder."""
    write_nifti(tmp_path / "set" / "case-a", scan)
    return tmp_path


def of(raw: Path, **changed: object) -> tuple[list[RawSlice], list[Refused]]:
    return run(read(raw, **(FILES | {"values": VALUES} | changed)))  # type: ignore[arg-type]


def painted(**areas: int) -> np.ndarray:
    """Make a mask of 40 x 40 pixels: kidney, tumor and cyst cover that many."""
    mask = np.zeros(1600, np.uint8)
    start = 0
    for value, name in enumerate(("kidney", "tumor", "cyst"), start=1):
        mask[start : start + areas.get(name, 0)] = value
        start += areas.get(name, 0)
    return mask.reshape(40, 40)


@pytest.mark.parametrize(
    ("areas", "label"),
    [
        ({"kidney": 400}, "normal"),
        ({"kidney": 400, "cyst": 40}, "cyst"),
        ({"kidney": 400, "cyst": 90, "tumor": 40}, "tumor"),
        ({"tumor": 40}, "tumor"),
        # Too little to be seen: neither the finding nor free of it, whatever else is there.
        ({"kidney": 400, "tumor": 39}, ""),
        ({"kidney": 400, "tumor": 1}, ""),
        ({"kidney": 400, "cyst": 90, "tumor": 39}, ""),
        ({"kidney": 39}, ""),
        ({}, ""),
    ],
)
def test_the_first_finding_that_is_there_labels_the_slice(
    areas: dict[str, int], label: str
) -> None:
    # 40 pixels of 0.5 mm² are 20 mm².
    assert label_of_slice(painted(**areas), VALUES, 0.5, 20) == label


def test_area_is_counted_in_mm2_and_over_all_values_of_a_class() -> None:
    mask = painted(kidney=100, tumor=10, cyst=10)
    assert label_of_slice(mask, {"lesion": [2, 3], "normal": [1]}, 1.0, 20) == "lesion"
    assert label_of_slice(mask, {"lesion": [2, 3], "normal": [1]}, 0.9, 20) == ""


def test_values_without_a_class_are_background_and_those_of_no_name_are_left_out() -> None:
    mask = painted(kidney=400, cyst=90)
    assert label_of_slice(mask, {"tumor": 2, "normal": 1}, 1.0, 20) == "normal"
    assert label_of_slice(mask, {"": 3, "tumor": 2, "normal": 1}, 1.0, 20) == ""


def test_slices_are_those_of_the_scan(raw: Path, scan: PhantomScan) -> None:
    slices, refused = of(raw, phase="enhanced", window="350/50")
    assert refused == []
    assert [s.frame for s in slices] == [0, 1, 2, 3, 4]
    assert {(s.label, s.scan, s.patient) for s in slices} == {("cyst",) + 2 * ("set/case-a",)}
    assert {(s.path, s.phase, s.plane) for s in slices} == {
        ("set/case-a/image.nii.gz", "enhanced", "axial")
    }
    assert {s.window for s in slices} == {"350/50"}
    assert math.isclose(slices[0].slice_mm, scan.spacing[0], rel_tol=1e-5)
    assert math.isclose(slices[0].pixel_mm, scan.spacing[1], rel_tol=1e-5)
    assert len({s.sha256 for s in slices}) == 5
    soft = (scan.hu > -100) & (scan.hu < 200)
    shown = np.stack([s.pixels for s in slices])[soft]
    np.testing.assert_allclose(shown, (scan.hu[soft] + 125) / 350 * 255, atol=1.5)


def test_slices_without_a_class_are_left_out_but_keep_their_number(
    tmp_path: Path, scan: PhantomScan
) -> None:
    masks = scan.masks.copy()
    masks[0] = 0  # no kidney
    masks[2][masks[2] == 3] = 1  # no cyst
    changed = PhantomScan(**(vars(scan) | {"masks": masks}))
    write_nifti(tmp_path / "case", changed)
    slices, refused = of(tmp_path)
    assert [(s.frame, s.label) for s in slices] == [
        (1, "cyst"), (2, "normal"), (3, "cyst"), (4, "cyst"),
    ]  # fmt: skip
    assert refused == []


def test_a_volume_without_a_slice_is_named_and_is_no_mistake(raw: Path) -> None:
    slices, (refused,) = of(raw, values={"": [1], "stone": [4], "cyst": [3]}, smallest_mm2=1e6)
    assert slices == []
    assert (refused.path, refused.expected) == ("set/case-a/image.nii.gz", True)
    assert "shows no class of stone, cyst large enough" in refused.reason


@pytest.mark.parametrize(
    ("slice_mm", "step_mm", "step"),
    [(0.5, 3, 6), (1, 3, 3), (2, 3, 2), (2.5, 3, 2), (3, 3, 1), (5, 3, 1), (0.7, 0.7 * 3, 3),
     (0.8, 0, 1), (2, 2.1, 2)],
)  # fmt: skip
def test_slices_lie_at_least_the_step_apart(
    tmp_path: Path, scan: PhantomScan, slice_mm: float, step_mm: float, step: int
) -> None:
    spacing = (slice_mm, *scan.spacing[1:])
    write_nifti(tmp_path / "case", PhantomScan(**(vars(scan) | {"spacing": spacing})))
    slices, _ = of(tmp_path, step_mm=step_mm)
    assert [s.frame for s in slices] == list(range(0, 5, step))
    assert slices[0].slice_mm == pytest.approx(step * slice_mm, abs=1e-3)


def values_of(text: str) -> dict[str, object]:
    """Return what nifti.yaml gives to the reader; `text` is YAML that changes its classes."""
    data = OmegaConf.load(Path(__file__).parents[3] / "conf" / "data" / "nifti.yaml")
    for label, values in OmegaConf.create(text).items():
        data.classes.pop(label) if values is None else data.classes.update({label: values})
    read = OmegaConf.to_container(OmegaConf.create({"data": data}), resolve=True)["data"]["read"]
    return {key: value for key, value in read.items() if key in ("values", "healthy")}


@pytest.mark.parametrize(
    ("change", "settings", "label"),
    [
        ("{}", {}, "cyst"),
        ("{stone: null}", {}, "cyst"),
        ("{cyst: null}", {}, "normal"),
        ("{cyst: null}", {"leave_out": [3]}, ""),
        ("{cyst: null}", {"leave_out": 3}, ""),
        ("{cyst: null, abscess: [3]}", {}, "abscess"),  # stands behind normal
        ("{normal: null}", {}, "cyst"),
    ],
)
def test_classes_can_be_added_and_removed(
    raw: Path, change: str, settings: dict[str, object], label: str
) -> None:
    slices, refused = of(raw, **values_of(change), **settings)
    assert {s.label for s in slices} == ({label} if label else set())
    assert len(refused) == (not label)


def test_classes_of_the_yaml_are_in_order_of_priority() -> None:
    values = values_of("{}")["values"]
    assert list(values) == ["tumor", "stone", "cyst", "normal"]  # type: ignore[call-overload]


def test_a_missing_partner_is_refused(raw: Path) -> None:
    shutil.copytree(raw / "set" / "case-a", raw / "set" / "case-b")
    (raw / "set" / "case-a" / "labels.nii.gz").unlink()
    (raw / "set" / "case-b" / "image.nii.gz").unlink()
    slices, refused = of(raw)
    assert slices == []
    assert [r.path for r in refused] == ["set/case-a/image.nii.gz", "set/case-b/labels.nii.gz"]
    assert "a mask at set/case-a/labels.nii.gz" in refused[0].reason
    assert "a volume (image.nii.gz)" in refused[1].reason


@pytest.mark.parametrize("name", ["image.nii.gz", "labels.nii.gz"])
def test_a_broken_file_is_refused_and_the_others_are_read(raw: Path, name: str) -> None:
    shutil.copytree(raw / "set" / "case-a", raw / "set" / "case-b")
    broken = raw / "set" / "case-a" / name
    broken.write_bytes(broken.read_bytes()[:500])
    slices, refused = of(raw)
    assert {s.scan for s in slices} == {"set/case-b"}
    assert [r.path for r in refused] == [f"set/case-a/{name}"]
    assert f"set/case-a/{name}" in refused[0].reason


def test_a_mask_of_another_volume_is_refused(raw: Path) -> None:
    path = raw / "set" / "case-a" / "labels.nii.gz"
    mask = nib.load(path)
    nib.save(nib.Nifti1Image(np.asarray(mask.dataobj)[:, :, :-1], mask.affine), path)
    slices, refused = of(raw)
    assert slices == []
    assert [r.path for r in refused] == ["set/case-a/labels.nii.gz"]
    assert "of set/case-a/image.nii.gz, got" in refused[0].reason  # where it lies is passing
    assert str(raw) not in refused[0].reason


@pytest.mark.parametrize(
    ("image", "mask", "files", "cases"),
    [
        ("image.nii.gz", "labels.nii.gz", ["a/image.nii.gz", "a/labels.nii.gz"], ["a"]),
        ("image.nii.gz", "labels.nii.gz", ["image.nii.gz", "labels.nii.gz"], ["image"]),
        (
            "*.nii.gz",
            "*-organs.nii.gz",
            ["x.nii.gz", "x-organs.nii.gz", "d/y.nii.gz", "d/y-organs.nii.gz"],
            ["d/y", "x"],
        ),
        (
            "imagesTr/*_0000.nii.gz",
            "labelsTr/*.nii.gz",
            [
                "imagesTr/a_0000.nii.gz",
                "labelsTr/a.nii.gz",
                "imagesTs/b_0000.nii.gz",
                "imagesTr/a/c_0000.nii.gz",
            ],
            ["imagesTr/a_0000"],
        ),
        ("*_ct.nii.gz", "*.nii.gz", ["a_ct.nii.gz", "a.nii.gz"], ["a_ct"]),
        ("case_*/ct.nii", "case_*/seg.nii", ["k/case_1/ct.nii", "k/case_1/seg.nii"], ["k/case_1"]),
    ],
)
def test_layouts(tmp_path: Path, image: str, mask: str, files: list[str], cases: list[str]) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    found, refused = find_cases(tmp_path, image, mask)
    assert [case.name for case in found] == cases
    assert refused == []


@pytest.mark.parametrize(("image", "mask"), [("a*b*.nii", "m.nii"), ("i", "*"), ("same", "same")])
def test_patterns_that_pair_nothing_are_a_mistake(tmp_path: Path, image: str, mask: str) -> None:
    with pytest.raises(ConfigError, match="pair volumes with masks"):
        find_cases(tmp_path, image, mask)


def test_a_real_volume_is_labelled_by_its_organs(tmp_path: Path, shared: Path) -> None:
    for name in ("ct-volume.nii.gz", "ct-volume-organs.nii.gz"):
        shutil.copy(shared / "data" / name, tmp_path)
    values = {"normal": [2, 3]}  # right and left kidney
    found = of(tmp_path, image="*.nii.gz", mask="*-organs.nii.gz", values=values)
    slices, refused = found
    assert refused == []
    organs = np.asarray(nib.load(tmp_path / "ct-volume-organs.nii.gz").dataobj)
    enough = (np.isin(organs, [2, 3]).sum((0, 1)) * 9 >= 20)[::-1]  # head first, as readers give it
    assert 0 < enough.sum() < len(enough)
    assert [s.frame for s in slices] == list(np.flatnonzero(enough))
    assert {(s.scan, s.label, s.pixel_mm, s.slice_mm) for s in slices} == {
        ("ct-volume", "normal", 3.0, 3.0)
    }
    assert slices[0].pixels.shape == (101, 122)


def test_real_shapes_are_labelled(tmp_path: Path, shared: Path) -> None:
    with zipfile.ZipFile(shared / "data" / "kits19-shapes.zip") as packed:
        for name in packed.namelist()[:12]:
            packed.extract(name, tmp_path)
    counts = []
    for path in sorted(tmp_path.rglob("*.nii.gz")):
        mask = nib.load(path)
        pixel_mm2 = float(np.prod(mask.header.get_zooms()[1:]))
        labels = [
            label_of_slice(slice_, {"tumor": [2], "normal": [1]}, pixel_mm2, 20)
            for slice_ in np.asarray(mask.dataobj)
        ]
        counts.append({label: labels.count(label) for label in ("tumor", "normal", "")})
    assert len(counts) == 12
    # Four slices beyond the kidneys, and one whose tumour covers less than 20 mm².
    assert counts[0] == {"tumor": 9, "normal": 34, "": 5}
    assert all(count["tumor"] >= 8 and count["normal"] >= 12 for count in counts)
    assert all(2 <= count[""] <= 8 for count in counts), counts
