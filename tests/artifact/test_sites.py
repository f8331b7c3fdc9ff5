import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kidney.artifact.sites import FINDINGS, component, extent, peak
from kidney.models.lesion_classifier import LESIONS


def blob(rows: slice, columns: slice, side: int = 40) -> np.ndarray:
    map_ = np.full((side, side), -8.0)
    map_[rows, columns] = 3.0
    return map_


def test_findings_are_the_outputs_of_the_lesion_model():
    assert FINDINGS == LESIONS


def test_the_peak_is_in_pixels_of_the_slice():
    map_ = np.zeros((8, 8))
    map_[3, 3] = 1.0
    assert peak(map_, (10, 20, 26, 36)) == (17.0, 27.0)


@given(st.integers(1, 20), st.integers(1, 20), st.floats(0.5, 4))
def test_the_extent_is_the_longest_line_through_the_lesion(high: int, wide: int, scale: float):
    map_ = blob(slice(5, 5 + high), slice(7, 7 + wide))
    map_[39, 39] = 2.9  # another lesion does not count
    found = extent(map_, (0, 0, 40 * scale, 40 * scale))
    longest = np.hypot(high - 1, wide - 1) * scale
    assert longest <= found <= longest + 1.01 * scale


def test_a_faint_halo_is_no_lesion():
    map_ = blob(slice(10, 14), slice(10, 14))
    map_[10:30, 14] = -1.0
    assert extent(map_, (0, 0, 40, 40)) == pytest.approx(np.hypot(3, 3) + 1, rel=0.01)


def test_components_hang_together_over_corners():
    on = np.eye(5, dtype=bool)
    on[0, 4] = True
    found = component(on, (2, 2))
    assert found.sum() == 5
    assert not found[0, 4]
