"""Contrast, plane and framing are estimated as a person would; the baseline sums them up."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kidney.data.phantom.scan import generate_scan
from kidney.imaging.appearance import (
    ENHANCED_FROM,
    GREY_BINS,
    PLANES,
    appearance,
    baseline,
    thumbnail,
)
from kidney.imaging.windows import WINDOWS, to_grey
from tests.helpers.data_slices import scan

PICTURES = st.integers(0, 2**32).map(
    lambda seed: np.random.default_rng(seed).integers(0, 256, (3, 96, 96), dtype=np.uint8)
)


def body(rows: slice, columns: slice, organ: int = 110) -> np.ndarray:
    """A body of one grey with a bone in its middle, on air."""
    picture = np.zeros((96, 96), np.uint8)
    picture[rows, columns] = 100
    picture[28:44, 30:50] = organ
    picture[50:56, 45:52] = 250
    return picture


def told(*pictures: np.ndarray) -> dict[str, np.ndarray]:
    return appearance(np.stack(pictures))


def test_a_thumbnail_is_an_average_of_areas() -> None:
    half = np.zeros((192, 384), np.uint8)
    half[::2] = 200  # every second row: a thumbnail by nearest pixels would be black or white
    assert thumbnail(half).shape == (96, 96)
    assert thumbnail(half).dtype == np.uint8
    assert (thumbnail(half) == 100).all()


def test_a_bright_organ_is_enhancement_and_a_bright_bone_is_not() -> None:
    inside = slice(10, 86)
    looks = told(body(inside, inside), body(inside, inside, organ=180))
    assert looks["enhancement"].tolist() == [110, 180]
    assert 110 < ENHANCED_FROM < 180
    assert looks["soft_grey"].tolist() == [100, 100]


def test_the_share_of_the_body_is_its_area() -> None:
    inside = slice(24, 72)
    assert told(body(inside, inside))["body_share"][0] == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("rows", "columns", "plane"),
    [
        (slice(10, 86), slice(5, 91), "axial"),
        (slice(0, 96), slice(20, 76), "coronal"),
        (slice(30, 66), slice(0, 96), "sagittal"),
    ],
)
def test_the_view_follows_from_the_edges_that_the_body_leaves(
    rows: slice, columns: slice, plane: str
) -> None:
    assert PLANES[int(told(body(rows, columns))["plane"][0])] == plane


def test_a_couch_is_no_body() -> None:
    picture = body(slice(10, 80), slice(10, 86))
    picture[92:94] = 120  # a couch from side to side, 2 of 96 rows
    assert PLANES[int(told(picture)["plane"][0])] == "axial"


def test_a_picture_of_air_is_described_too() -> None:
    looks = told(np.zeros((96, 96), np.uint8))
    assert [float(looks[name][0]) for name in looks] == [0, 0, 0, 0]


def test_of_no_slices_there_is_nothing_to_tell() -> None:
    assert [len(x) for x in appearance(np.empty((0, 96, 96), np.uint8)).values()] == [0] * 4


@settings(max_examples=20, deadline=None)
@given(pictures=PICTURES)
def test_slices_are_described_one_by_one(pictures: np.ndarray) -> None:
    together = appearance(pictures)
    alone = [appearance(picture[None]) for picture in pictures]
    for name, values in together.items():
        assert values.tolist() == [float(one[name][0]) for one in alone]


@settings(max_examples=20, deadline=None)
@given(pictures=PICTURES)
def test_a_mirrored_slice_has_the_same_contrast_and_plane(pictures: np.ndarray) -> None:
    mirrored = appearance(pictures[:, :, ::-1])
    for name, values in appearance(pictures).items():
        assert values.tolist() == mirrored[name].tolist()


def test_the_phase_of_a_phantom_is_told_from_its_picture() -> None:
    right = []
    for seed in range(12):
        scan = generate_scan(seed, "normal", size=128, max_slices=3)
        grey = to_grey(scan.hu, WINDOWS["abdomen"])
        look = appearance(np.stack([thumbnail(slice_) for slice_ in grey]))
        enhanced = np.median(look["enhancement"]) >= ENHANCED_FROM
        right.append(enhanced == (scan.phase != "non-contrast"))
    assert np.mean(right) >= 0.75


SLICES = [slice_ for seed in range(4) for slice_ in scan(seed, 3)]
LOOKS = np.stack([thumbnail(slice_) for slice_ in SLICES])
SHAPES = [slice_.shape for slice_ in SLICES]


def test_shares_sum_to_one_and_the_whole_is_json() -> None:
    made = baseline(LOOKS, SHAPES)
    assert json.loads(json.dumps(made)) == made
    assert made["slices"] == 12
    assert len(made["grey"]) == GREY_BINS
    for shares in (made["grey"], *(made[name].values() for name in ("sizes", "phase", "plane"))):
        assert sum(shares) == pytest.approx(1, abs=1e-3)


def test_sizes_are_width_by_height() -> None:
    assert baseline(LOOKS[:4], [(48, 64)] * 3 + [(10, 20)])["sizes"] == {
        "20 x 10": 0.25,
        "64 x 48": 0.75,
    }


def test_greys_fall_into_their_steps() -> None:
    halves = np.zeros((1, 96, 96), np.uint8)
    halves[:, 48:] = 255
    made = baseline(halves, [(96, 96)])
    assert (made["grey"][0], made["grey"][-1]) == (0.5, 0.5)
    assert made["embedding"]["mean"] == [0.0] * 32 + [255.0] * 32
    assert made["embedding"]["std"] == [0.0] * 64


def test_brighter_slices_are_another_baseline() -> None:
    brighter = np.clip(LOOKS.astype(int) + 40, 0, 255).astype(np.uint8)
    old, new = baseline(LOOKS, SHAPES), baseline(brighter, SHAPES)
    assert np.mean(new["soft_grey"]) > np.mean(old["soft_grey"])
    assert np.mean(new["embedding"]["mean"]) > np.mean(old["embedding"]["mean"]) + 30
    assert new["grey"] != old["grey"]


def test_quantiles_ascend_from_the_least_to_the_most() -> None:
    for name in ("enhancement", "soft_grey", "body_share"):
        values = baseline(LOOKS, SHAPES)[name]
        assert values == sorted(values)
        assert len(values) == 11
