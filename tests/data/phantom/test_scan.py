"""The phantom shows what its label says, and nothing else in a scan knows the label."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_dilation, binary_erosion

from kidney.data.phantom.scan import (
    CLASSES,
    MASK_LABELS,
    PHASES,
    PhantomScan,
    generate_scan,
    generate_scans,
)
from kidney.errors import ConfigError
from kidney.imaging.windows import to_grey

VALUE = {name: value for value, name in MASK_LABELS.items()}


@pytest.fixture(scope="module")
def scans() -> list[PhantomScan]:
    """Four phases of each class, at full size."""
    return list(generate_scans(4, seed=5, max_slices=4))


def thumbnails(scan: PhantomScan) -> NDArray[np.float64]:
    """Unit vectors (slices, 96 * 96): their products are correlations."""
    small = [
        np.asarray(Image.fromarray(grey).resize((96, 96), Image.Resampling.BOX), dtype=float)
        for grey in to_grey(scan.hu)
    ]
    flat = np.stack(small).reshape(len(small), -1)
    flat -= flat.mean(axis=1, keepdims=True)
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)


def inside(scan: PhantomScan, name: str) -> NDArray[np.int16]:
    """HU of a structure away from its edges, where voxels mix tissues."""
    pixels = [
        hu[binary_erosion(mask == VALUE[name], iterations=2)]
        for hu, mask in zip(scan.hu, scan.masks, strict=True)
    ]
    return np.concatenate(pixels)


def test_same_seed_gives_the_same_bytes_and_another_seed_does_not() -> None:
    first, again = generate_scan(3, "tumor", 128, 8), generate_scan(3, "tumor", 128, 8)
    assert first.hu.tobytes() == again.hu.tobytes()
    assert first.masks.tobytes() == again.masks.tobytes()
    other = generate_scan(7, "tumor", 128, 8)
    assert first.phase == other.phase
    assert first.hu.shape != other.hu.shape or (first.hu != other.hu).mean() > 0.5


def test_arrays_are_hu_and_masks_of_the_asked_size(scans: list[PhantomScan]) -> None:
    for scan in scans:
        assert scan.hu.dtype == np.int16
        assert scan.masks.dtype == np.uint8
        assert scan.hu.shape == scan.masks.shape == (4, 256, 256)
        assert scan.hu.min() >= -1024
        assert scan.hu.max() > 300  # bone
        assert np.median(scan.hu[:, :8, :8]) < -950  # air
        assert 2 <= scan.spacing[0] <= 5
        assert scan.spacing[1] == scan.spacing[2]


@pytest.mark.parametrize("label", CLASSES[1:])
def test_every_slice_shows_the_finding_of_its_label_and_no_other(label: str) -> None:
    for seed in range(3):
        scan = generate_scan(seed, label, 96)
        seen = [
            set(np.unique(mask)) - {VALUE["background"], VALUE["kidney"]} for mask in scan.masks
        ]
        assert seen == [{VALUE[label]}] * len(scan.masks)


def test_normal_scans_show_kidneys_and_no_finding(scans: list[PhantomScan]) -> None:
    for scan in scans:
        if scan.label == "normal":
            assert set(np.unique(scan.masks)) == {VALUE["background"], VALUE["kidney"]}
        assert all((mask == VALUE["kidney"]).sum() > 100 for mask in scan.masks)


def test_finding_lies_on_the_side_that_the_scan_names(scans: list[PhantomScan]) -> None:
    for scan in scans:
        if scan.label == "normal":
            continue
        columns = np.nonzero(scan.masks == VALUE[scan.label])[2].mean()
        body = np.nonzero(scan.hu > -300)[2].mean()
        # Radiological display: the patient's right is on the left of the picture.
        assert scan.side == ("right" if columns < body else "left")


def test_cysts_are_water_in_every_phase(scans: list[PhantomScan]) -> None:
    cysts = [scan for scan in scans if scan.label == "cyst"]
    assert {scan.phase for scan in cysts} == set(PHASES)
    for scan in cysts:
        hu = inside(scan, "cyst")
        assert 0 <= np.median(hu) <= 20
        assert hu.std() < 1.3 * scan.noise + 4  # noise alone: smooth, nothing in it


def test_tumours_are_soft_tissue_and_take_up_contrast(scans: list[PhantomScan]) -> None:
    median = {s.phase: np.median(inside(s, "tumor")) for s in scans if s.label == "tumor"}
    assert 20 <= median["non-contrast"] <= 50
    for phase in PHASES[1:]:
        assert median["non-contrast"] < median[phase] <= 150


def test_stones_are_dense(scans: list[PhantomScan]) -> None:
    for scan in scans:
        if scan.label == "stone":
            peaks = [
                hu[mask == VALUE["stone"]].max()
                for hu, mask in zip(scan.hu, scan.masks, strict=True)
            ]
            assert min(peaks) > 150
            assert 200 <= np.median(scan.hu[scan.masks == VALUE["stone"]]) <= 1500


def test_contrast_shows_in_the_kidney_and_excretion_in_its_collecting_system(
    scans: list[PhantomScan],
) -> None:
    normal = {s.phase: s.hu[s.masks == VALUE["kidney"]] for s in scans if s.label == "normal"}
    assert np.median(normal["non-contrast"]) < 50
    assert all(np.median(normal[phase]) > 70 for phase in PHASES[1:])
    assert np.percentile(normal["excretory"], 99) > 250
    assert np.percentile(normal["nephrographic"], 99) < 250


@pytest.mark.parametrize("seed", [1, 3])  # arterial, excretory
def test_the_same_seed_is_the_same_patient_whatever_the_label(seed: int) -> None:
    normal, *ill = (generate_scan(seed, label, 128, 6) for label in CLASSES)
    for scan in ill:
        for name in ("phase", "side", "habitus", "noise", "kernel", "spacing"):
            assert getattr(scan, name) == getattr(normal, name)
        # Beyond the finding and the blur around it each pixel is the same, noise included.
        near = np.stack([binary_dilation(m == VALUE[scan.label], iterations=9) for m in scan.masks])
        assert near.mean() < 0.3
        np.testing.assert_allclose(scan.hu[~near], normal.hu[~near], atol=1)
        assert (scan.hu[near] != normal.hu[near]).any()


def test_each_class_holds_all_phases_equally_often(scans: list[PhantomScan]) -> None:
    assert [scan.label for scan in scans] == [label for label in CLASSES for _ in range(4)]
    for label in CLASSES:
        assert sorted(s.phase for s in scans if s.label == label) == sorted(PHASES)


def test_no_two_scans_of_a_set_share_a_patient() -> None:
    seeds = [scan.seed for scan in generate_scans(3, seed=1, size=64, max_slices=1)]
    assert len(set(seeds)) == 12


def test_neighbouring_slices_are_alike_and_scans_are_not(scans: list[PhantomScan]) -> None:
    units = [thumbnails(scan) for scan in scans]
    for unit in units:
        assert min(a @ b for a, b in pairwise(unit)) > 0.98
    for before, after in pairwise(units):
        assert (before @ after.T).max() < 0.75
    between = [(a @ b.T).max() for i, a in enumerate(units) for b in units[:i]]
    assert max(between) < 0.9


def test_scans_are_drawn_when_asked_for() -> None:
    scans = generate_scans(10_000, seed=0, size=64, max_slices=1)
    assert next(scans).label == "normal"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"seed": 1, "label": "tumour"}, "'tumour'"),
        ({"seed": -1, "label": "cyst"}, "-1"),
        ({"seed": 1, "label": "cyst", "size": 32}, "32"),
        ({"seed": 1, "label": "cyst", "max_slices": 0}, "0"),
    ],
)
def test_a_setting_that_cannot_work_is_named(arguments: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        generate_scan(**arguments)  # type: ignore[arg-type]


def test_a_set_without_scans_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="scans_per_class"):
        generate_scans(0, seed=1)
