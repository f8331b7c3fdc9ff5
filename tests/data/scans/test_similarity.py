"""The nearest slices are found, and likeness is a correlation."""

import numpy as np
import pytest

from kidney.data.scans.similarity import coordinates, correlation, nearest
from kidney.imaging.appearance import thumbnail
from tests.helpers.data_slices import scan

LOOKS = np.stack([thumbnail(slice_) for seed in range(20) for slice_ in scan(seed, 4)])
EVERYONE = np.arange(len(LOOKS))


def test_the_nearest_slice_is_one_of_the_same_scan() -> None:
    found = nearest(coordinates(LOOKS), EVERYONE, EVERYONE)
    assert (found != EVERYONE).all()
    assert (found // 4 == EVERYONE // 4).all()


def test_the_nearest_is_looked_for_only_where_it_is_asked() -> None:
    among = EVERYONE[EVERYONE // 4 % 2 == 0]
    found = nearest(coordinates(LOOKS), EVERYONE, among)
    assert set(found) <= set(among)


def test_similarity_is_pearsons_correlation() -> None:
    pairs = np.array([0, 0, 5]), np.array([1, 40, 5])
    expected = [
        np.corrcoef(LOOKS[a].ravel(), LOOKS[b].ravel())[0, 1] for a, b in zip(*pairs, strict=True)
    ]
    np.testing.assert_allclose(correlation(LOOKS, *pairs), expected, atol=1e-5)


def test_of_a_flat_picture_the_similarity_is_nothing() -> None:
    flat = np.zeros((2, 96, 96), np.uint8)
    assert correlation(flat, np.array([0]), np.array([1])).tolist() == [0.0]


@pytest.mark.parametrize("count", [3, 5])
def test_few_slices_have_neighbours_too(count: int) -> None:
    rows = np.arange(count)
    assert (nearest(coordinates(LOOKS[:count]), rows, rows) != rows).all()
