import numpy as np
import pytest

from kidney.evaluation.metrics.lesions import (
    coverage,
    dice,
    found_kidneys,
    peak_on,
)


def finder(*parts: tuple[slice, slice, float]) -> np.ndarray:
    kidney = np.full((16, 16), -6.0)
    for rows, columns, value in parts:
        kidney[rows, columns] = value
    return kidney


def test_a_kidney_grows_from_its_sure_places():
    kidney = finder((slice(2, 6), slice(2, 6), -1.0), (slice(3, 4), slice(3, 4), 2.0))
    assert found_kidneys(kidney).sum() == 16
    assert found_kidneys(kidney, low=0.0, least_share=1 / 256).sum() == 1


@pytest.mark.parametrize(
    ("side", "value", "found"),
    [(4, 0.5, False), (2, 3.0, False), (3, 3.0, True)],
    ids=["never sure", "too small", "a kidney"],
)
def test_what_is_no_kidney(side: int, value: float, found: bool):
    kidney = finder((slice(0, side), slice(0, side), value))
    assert found_kidneys(kidney, least_share=8 / 256).any() == found


def test_coverage_and_dice_are_shares():
    found = np.zeros((4, 4), bool)
    found[:2] = True
    drawn = np.zeros((4, 4))
    drawn[1:3] = 0.5
    assert coverage(found, drawn) == 0.5
    assert dice(found, drawn) == pytest.approx(2 * 2 / (4 + 8))
    assert np.isnan(coverage(found, np.zeros((4, 4))))
    assert np.isnan(dice(~(found | ~found), np.zeros((4, 4))))


def test_a_peak_lies_on_what_is_drawn_or_beside_it():
    map_, drawn = np.zeros((8, 8)), np.zeros((8, 8))
    map_[3, 3], drawn[4, 4] = 1.0, 0.3
    assert not peak_on(map_, drawn, 0.25)
    assert peak_on(map_, drawn, 0.25, tolerance=1)
    assert not peak_on(map_, drawn, 0.4, tolerance=1)
