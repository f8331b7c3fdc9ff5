import numpy as np
import pytest

from kidney.imaging.appearance import thumbnail
from kidney.imaging.baseline import baseline
from kidney.serving.monitoring.drift import count, inputs, population_stability_index
from tests.helpers.training_slices import drawn

psi = population_stability_index


def test_the_index_is_that_of_the_formula():
    expected, observed = np.array([0.5, 0.3, 0.2]), np.array([0.4, 0.3, 0.3])
    by_hand = (-0.1) * np.log(0.8) + 0.1 * np.log(1.5)
    assert psi(expected, observed) == pytest.approx(by_hand)
    assert psi(observed, expected) == pytest.approx(by_hand)
    assert psi(expected, observed * 1234) == pytest.approx(by_hand)
    assert psi(expected, expected) == 0


def test_an_empty_bin_is_far_and_not_infinitely():
    assert 5 < psi(np.array([1.0, 0.0]), np.array([0.0, 7.0])) < 20
    assert psi(np.array([1.0, 0.0]), np.array([0.99, 0.01])) < 0.1


def test_chance_alone_moves_it_by_bins_over_slices():
    draws = np.random.default_rng(0).multinomial(500, [0.1] * 10, size=400)
    found = [psi(np.full(10, 0.1), draw.astype(float)) for draw in draws]
    assert np.mean(found) == pytest.approx(9 / 500, rel=0.1)


def test_what_the_baseline_was_made_of_is_where_it_expects():
    slices = drawn(400, seed=1)
    thumbnails = np.stack([thumbnail(slice_) for slice_ in slices])
    shapes = [slice_.shape for slice_ in slices]
    compared = inputs(baseline(thumbnails, shapes))
    names = ["grey", "sizes", "phase", "view", "enhancement", "soft_grey", "body_share"]
    assert [one.name for one in compared] == names
    for one, counts in zip(compared, count(compared, thumbnails, shapes), strict=True):
        assert one.expected.sum() == pytest.approx(1, abs=1e-3)
        assert counts.sum() == pytest.approx(400)
        assert len(one.bins) == len(set(one.bins)) == len(counts)
        assert psi(one.expected, counts) < 0.02, one.name


def test_a_size_that_is_new_is_among_the_others():
    (sizes,) = inputs({"sizes": {"50 x 40": 0.75, "40 x 50": 0.25}})
    assert sizes.bins == ("50 x 40", "40 x 50", "other")
    thumbnails = np.zeros((3, 96, 96), np.uint8)
    (counts,) = count([sizes], thumbnails, [(40, 50), (40, 50), (33, 44)])
    assert counts.tolist() == [2, 0, 1]


def test_of_many_sizes_the_common_ones_have_a_bin():
    (sizes,) = inputs({"sizes": {f"{side} x {side}": 0.04 for side in range(100, 125)}})
    assert len(sizes.bins) == 16
    assert sizes.expected[-1] == pytest.approx(0.4)


def test_deciles_that_coincide_are_one_edge_in_their_middle():
    (one,) = inputs({"soft_grey": [0, 0, 0, 0, 10, 20, 20, 30, 40, 50, 60]})
    # 0 is the deciles 1 to 3 and so the place 0.2, 20 is 5 and 6
    assert one.edges.tolist() == [0, 10, 20, 30, 40, 50]
    assert one.expected.tolist() == pytest.approx([0.2, 0.2, 0.15, 0.15, 0.1, 0.1, 0.1])
    assert one.bins[0] == "to 0"
    assert one.bins[-1] == "50 on"


def test_a_value_on_an_edge_lies_on_both_sides():
    (one,) = inputs({"body_share": [0, *[0.1 * n for n in range(1, 10)], 1]})
    black = np.zeros((4, 96, 96), np.uint8)
    (counts,) = count([one], black, [(96, 96)] * 4)
    assert counts[0] == 4
    (half,) = inputs({"body_share": [0, *[0.0] * 5, *[0.5] * 4, 1]})
    (counts,) = count([half], black, [(96, 96)] * 4)
    assert counts.tolist() == [2, 2, 0]


def test_a_card_without_a_baseline_has_nothing_to_compare():
    assert inputs({}) == []
