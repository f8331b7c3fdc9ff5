from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kidney.evaluation.metrics.conformal import (
    prediction_sets,
    set_coverage,
    set_size,
    set_threshold,
)
from kidney.evaluation.metrics.scan_level import scan_weights
from tests.helpers.simulated_scans import simulated

SEEDS = st.integers(0, 10_000)


def own(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    return probabilities[np.arange(len(labels)), labels]


@pytest.mark.parametrize(
    ("scans", "alike", "coverage"), [(20, 0.9, 0.9), (20, 0.1, 0.9), (60, 0.9, 0.8)]
)
def test_a_slice_of_a_new_scan_is_covered_as_often_as_stated(scans, alike, coverage):
    generator = np.random.default_rng(0)
    covered = []
    for _ in range(300):
        labels, probabilities, names = simulated(generator, scans + 20, alike=alike)
        old = names < f"scan-{scans:04d}"
        threshold = set_threshold(own(labels, probabilities)[old], names[old], coverage)
        hit = own(labels, probabilities)[~old] >= threshold
        covered.append(np.average(hit, weights=scan_weights(names[~old])))
    error = 3 * np.std(covered) / np.sqrt(len(covered))
    assert np.mean(covered) >= coverage - error
    assert np.mean(covered) <= coverage + 2 / scans + error


def test_slices_as_the_unit_would_promise_too_much():
    """One long scan after another: the pooled quantile of slices is what the long ones say."""
    generator = np.random.default_rng(1)
    pooled, by_scan = [], []
    for _ in range(300):
        level = generator.normal(size=40)
        slices = np.where(level > 0.5, 40, 1)  # easy scans are long
        scan_of = np.repeat(np.arange(40), slices)
        values = 1 / (1 + np.exp(-level[scan_of]))
        names = np.array([f"s{n:02d}" for n in scan_of])
        old = scan_of < 20
        weights = scan_weights(names[~old])
        for threshold, list_ in (
            (np.quantile(values[old], 0.1), pooled),
            (set_threshold(values[old], names[old], 0.9), by_scan),
        ):
            list_.append(np.average(values[~old] >= threshold, weights=weights))
    assert np.mean(by_scan) > 0.89
    assert np.mean(pooled) < 0.6


@pytest.mark.parametrize(("scans", "all_classes"), [(8, True), (9, False)])
def test_too_few_scans_leave_every_class_possible(scans: int, all_classes: bool):
    labels, probabilities, names = simulated(np.random.default_rng(0), scans)
    threshold = set_threshold(own(labels, probabilities), names, 0.9)
    assert (threshold == 0) == all_classes


@given(SEEDS, st.integers(1, 40), st.floats(0.5, 0.95))
@settings(max_examples=40, deadline=None)
def test_it_is_the_highest_threshold_that_keeps_enough(seed: int, scans: int, coverage: float):
    labels, probabilities, names = simulated(np.random.default_rng(seed), scans)
    values = own(labels, probabilities)
    threshold = set_threshold(values, names, coverage)
    weights = scan_weights(names)
    wanted = coverage * (scans + 1)
    if threshold > 0:
        assert weights[values >= threshold].sum() >= wanted - 1e-6
        assert weights[values > threshold].sum() < wanted
    else:
        assert scans < wanted


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_neither_order_nor_copies_of_slices_change_it(seed: int):
    generator = np.random.default_rng(seed)
    labels, probabilities, names = simulated(generator, 30)
    values = own(labels, probabilities)
    threshold = set_threshold(values, names, 0.9)
    rows = generator.permutation(len(values))
    assert set_threshold(values[rows], names[rows], 0.9) == threshold
    twice = np.concatenate([rows, rows])  # every scan twice as long
    assert set_threshold(values[twice], names[twice], 0.9) == threshold


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_a_higher_coverage_needs_larger_sets(seed: int):
    labels, probabilities, names = simulated(np.random.default_rng(seed), 30)
    sets = [
        prediction_sets(probabilities, set_threshold(own(labels, probabilities), names, coverage))
        for coverage in (0.6, 0.8, 0.9, 0.96)
    ]
    for smaller, larger in pairwise(sets):
        assert (smaller <= larger).all()
        assert set_size(smaller) <= set_size(larger)
        assert set_coverage(smaller, labels) <= set_coverage(larger, labels)


def test_a_set_holds_the_most_probable_class_and_what_reaches_the_threshold():
    sets = prediction_sets(np.array([[0.5, 0.3, 0.2], [0.34, 0.33, 0.33]]), 0.3)
    assert sets.tolist() == [[True, True, False], [True, True, True]]
    assert prediction_sets(np.array([[0.4, 0.35, 0.25]]), 0.9).tolist() == [[True, False, False]]


def test_coverage_and_size_are_counted_and_weighted():
    sets = np.array([[True, False], [True, True], [False, True]])
    labels = np.array([0, 1, 0])
    assert set_coverage(sets, labels) == pytest.approx(2 / 3)
    assert set_size(sets) == pytest.approx(4 / 3)
    weights = np.array([1.0, 1.0, 2.0])
    assert set_coverage(sets, labels, weights) == pytest.approx(0.5)
    assert set_size(sets, weights) == pytest.approx(1.25)
