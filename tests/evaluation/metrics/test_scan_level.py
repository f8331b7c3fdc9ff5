import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import gmean

from kidney.evaluation.metrics.scan_level import scan_answers, scan_weights
from tests.helpers.simulated_scans import simulated

SEEDS = st.integers(0, 10_000)


@given(SEEDS, st.integers(1, 20))
@settings(max_examples=25, deadline=None)
def test_every_scan_weighs_one(seed: int, scans: int):
    _, _, names = simulated(np.random.default_rng(seed), scans)
    weights = scan_weights(names)
    for name in np.unique(names):
        own = weights[names == name]
        assert own.sum() == pytest.approx(1)
        assert len(set(own.tolist())) == 1


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_a_scan_says_the_normalised_geometric_mean_of_its_slices(seed: int):
    labels, probabilities, names = simulated(np.random.default_rng(seed), 7)
    answers = scan_answers(labels, probabilities, names)
    assert answers.scans.tolist() == sorted(set(names.tolist()))
    for place, name in enumerate(answers.scans):
        mean = gmean(probabilities[names == name], axis=0)
        np.testing.assert_allclose(answers.probabilities[place], mean / mean.sum())
        assert answers.slices[place] == (names == name).sum()
        assert {answers.labels[place]} == set(labels[names == name].tolist())


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_neither_order_nor_copies_of_slices_change_it(seed: int):
    generator = np.random.default_rng(seed)
    labels, probabilities, names = simulated(generator, 7)
    rows = np.tile(generator.permutation(len(labels)), 3)
    once = scan_answers(labels, probabilities, names)
    thrice = scan_answers(labels[rows], probabilities[rows], names[rows])
    np.testing.assert_allclose(once.probabilities, thrice.probabilities)
    assert (once.labels == thrice.labels).all()


def test_one_certain_slice_does_not_decide_for_the_others():
    probabilities = np.array([[0.0, 1.0], *[[0.999999, 0.000001]] * 9])
    answers = scan_answers(np.zeros(10, dtype=int), probabilities, np.full(10, "s"))
    assert np.isfinite(answers.probabilities).all()
    assert answers.probabilities[0].argmax() == 0


def test_a_scan_has_the_label_of_most_of_its_slices():
    probabilities = np.full((3, 2), 0.5)
    answers = scan_answers(np.array([1, 0, 1]), probabilities, np.full(3, "s"))
    assert answers.labels.tolist() == [1]
