import io

import numpy as np
import pytest
from PIL import Image

from kidney.artifact.overlay import RAMP, evidence_overlay, png_bytes, within

GREY = np.full((64, 96), 100, dtype=np.uint8)


def evidence(**cells: float) -> np.ndarray:
    """A 4 x 6 map, zero but for cells such as r1c2=3.0."""
    map_ = np.zeros((4, 6), dtype=np.float32)
    for name, value in cells.items():
        map_[int(name[1]), int(name[3])] = value
    return map_


def is_grey(picture: np.ndarray) -> np.ndarray:
    return (picture == picture[..., :1]).all(axis=-1)


def test_evidence_is_coloured_where_it_lies():
    painted = evidence_overlay(GREY, evidence(r1c4=2.0), strongest=2.0)
    assert painted.shape == (64, 96, 3)
    assert painted.dtype == np.uint8
    coloured = ~is_grey(painted)
    rows, columns = np.nonzero(coloured)
    # A cell is 16 pixels; a bilinear tent ends one cell beyond the middle of its own.
    assert coloured[24, 72]
    assert (rows.min(), rows.max()) == pytest.approx((8, 39), abs=2)
    assert (columns.min(), columns.max()) == pytest.approx((56, 87), abs=2)
    np.testing.assert_array_equal(painted[~coloured], 100)


def test_enlarging_is_bilinear_with_cell_centres_kept():
    ramp = np.array([[0.0, 1.0]], dtype=np.float32)
    painted = evidence_overlay(np.zeros((1, 40), np.uint8), ramp, strongest=1.0, opacity=1.0)
    red = painted[0, :, 0].astype(int)
    assert red[:10].max() <= 6  # left of the first centre there is nothing to interpolate
    assert (np.diff(red) >= -5).all()
    np.testing.assert_allclose(painted[0, -10:], np.tile(RAMP[-1], (10, 1)), atol=8)


@pytest.mark.parametrize("map_", [evidence(), evidence(r2c2=-5.0)])
def test_nothing_and_negative_evidence_stay_grey(map_):
    painted = evidence_overlay(GREY, map_, strongest=1.0)
    np.testing.assert_array_equal(painted, np.repeat(GREY[:, :, None], 3, axis=2))


@pytest.mark.parametrize("strongest", [0.0, -1.0])
def test_without_any_positive_evidence_nothing_is_coloured(strongest):
    assert is_grey(evidence_overlay(GREY, evidence(r0c0=-1.0), strongest)).all()


def test_weak_evidence_looks_weak():
    def distance(value: float) -> int:
        painted = evidence_overlay(GREY, np.full((4, 6), value, np.float32), strongest=10.0)
        return int(np.abs(painted.astype(int) - 100).sum(axis=-1).max())

    assert 0 < distance(1.0) < distance(5.0) < distance(10.0)
    assert distance(1.0) < 0.15 * distance(10.0)


def test_full_opacity_shows_the_pure_ramp_and_none_the_slice():
    full = np.ones((4, 6), dtype=np.float32)
    painted = evidence_overlay(GREY, full, strongest=1.0, opacity=1.0)
    np.testing.assert_array_equal(painted[30, 30], RAMP[-1])
    assert is_grey(evidence_overlay(GREY, full, strongest=1.0, opacity=0.0)).all()
    with pytest.raises(ValueError, match="opacity"):
        evidence_overlay(GREY, full, strongest=1.0, opacity=1.5)


def test_the_ramp_grows_lighter():
    lightness = np.array(RAMP) @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(lightness) > 0).all()


def test_large_slices_are_shrunk_in_proportion_and_small_ones_left_alone():
    assert within(np.zeros((3000, 1500), np.uint8), 1000).shape == (1000, 500)
    assert within(np.zeros((1, 3000), np.uint8), 1000).shape == (1, 1000)
    assert within(GREY, 96) is GREY


@pytest.mark.parametrize("picture", [GREY, np.dstack([GREY, GREY // 2, GREY // 4])])
def test_png_keeps_every_pixel(picture):
    decoded = Image.open(io.BytesIO(png_bytes(picture)))
    assert decoded.format == "PNG"
    np.testing.assert_array_equal(np.asarray(decoded), picture)


def test_evidence_of_a_region_lies_in_that_region_also_beyond_the_slice():
    full = np.ones((2, 2), dtype=np.float32)
    painted = evidence_overlay(GREY, full, strongest=1.0, opacity=1.0, region=(-8, 40, 24, 72))
    coloured = ~is_grey(painted)
    expected = np.zeros((64, 96), dtype=bool)
    expected[:24, 40:72] = True
    np.testing.assert_array_equal(coloured, expected)
    np.testing.assert_array_equal(painted[10, 50], RAMP[-1])


def test_the_region_of_the_whole_slice_changes_nothing():
    map_ = evidence(r1c4=2.0, r3c0=1.0)
    np.testing.assert_array_equal(
        evidence_overlay(GREY, map_, 2.0, region=(0, 0, 64, 96)), evidence_overlay(GREY, map_, 2.0)
    )


def test_an_overlay_is_shrunk_like_its_slice():
    assert within(np.zeros((300, 150, 3), np.uint8), 100).shape == (100, 50, 3)
