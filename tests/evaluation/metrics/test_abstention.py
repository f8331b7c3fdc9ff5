import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kidney.artifact.decision import ACCEPT_NOTHING
from kidney.evaluation.metrics.abstention import (
    area_under_risk_coverage,
    review_threshold,
    risk_coverage,
)
from kidney.evaluation.metrics.scan_level import scan_weights
from tests.helpers.simulated_scans import simulated

SEEDS = st.integers(0, 10_000)


def tied(seed: int, count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Confidences with many ties, and errors."""
    generator = np.random.default_rng(seed)
    return generator.integers(4, 11, count) / 10, generator.random(count) < 0.3


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_the_curve_is_what_counting_gives(seed: int):
    confidence, wrong = tied(seed)
    for threshold, coverage, risk in zip(*risk_coverage(confidence, wrong), strict=True):
        accepted = confidence >= threshold
        assert coverage == pytest.approx(accepted.mean())
        assert risk == pytest.approx(wrong[accepted].mean())


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_coverage_rises_to_all_where_the_risk_is_the_error_rate(seed: int):
    confidence, wrong = tied(seed)
    thresholds, coverage, risk = risk_coverage(confidence, wrong)
    assert (np.diff(coverage) > 0).all()
    assert (np.diff(thresholds) < 0).all()
    assert coverage[-1] == pytest.approx(1)
    assert risk[-1] == pytest.approx(wrong.mean())


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_only_the_order_of_the_confidence_counts(seed: int):
    confidence, wrong = tied(seed)
    area = area_under_risk_coverage(confidence, wrong)
    assert area_under_risk_coverage(confidence**3, wrong) == pytest.approx(area)
    rows = np.random.default_rng(seed).permutation(len(wrong))
    assert area_under_risk_coverage(confidence[rows], wrong[rows]) == pytest.approx(area)


def test_without_ties_the_area_is_the_mean_of_the_risks():
    generator = np.random.default_rng(0)
    confidence, wrong = generator.random(50), generator.random(50) < 0.4
    ordered = wrong[np.argsort(-confidence)]
    mean = np.mean(np.cumsum(ordered) / np.arange(1, 51))
    assert area_under_risk_coverage(confidence, wrong) == pytest.approx(mean)


def test_the_best_order_has_the_least_area_and_no_order_the_error_rate():
    wrong = np.arange(10) >= 7
    best = area_under_risk_coverage(-np.arange(10.0), wrong)
    worst = area_under_risk_coverage(np.arange(10.0), wrong)
    assert area_under_risk_coverage(np.zeros(10), wrong) == pytest.approx(0.3)
    assert best < 0.3 < worst


def test_a_weight_of_two_is_two_answers():
    confidence, wrong = tied(5, 20)
    weights = np.random.default_rng(0).integers(1, 4, 20)
    rows = np.repeat(np.arange(20), weights)
    assert area_under_risk_coverage(confidence, wrong, weights) == pytest.approx(
        area_under_risk_coverage(confidence[rows], wrong[rows])
    )


@pytest.mark.parametrize("alike", [0.2, 0.9])
def test_answers_of_fresh_scans_that_stand_keep_the_risk(alike: float):
    generator = np.random.default_rng(0)
    errors, accepted = 0.0, 0.0
    for _ in range(200):
        labels, probabilities, names = simulated(generator, 90, skill=2.0, alike=alike)
        confidence, wrong = probabilities.max(axis=1), probabilities.argmax(axis=1) != labels
        old = names < "scan-0060"
        threshold = review_threshold(confidence[old], wrong[old], scan_weights(names[old]), 0.1)
        weights = scan_weights(names[~old]) * (confidence[~old] >= threshold)
        errors += (weights * wrong[~old]).sum()
        accepted += weights.sum()
    assert accepted > 0.2 * 200 * 30  # and does not get there by accepting nothing
    assert errors / accepted < 0.11


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_it_accepts_as_much_as_the_risk_allows(seed: int):
    labels, probabilities, names = simulated(np.random.default_rng(seed), 60, skill=3.0)
    confidence, wrong = probabilities.max(axis=1), probabilities.argmax(axis=1) != labels
    weights = scan_weights(names)

    def kept(threshold: float) -> bool:
        stands = confidence >= threshold
        return bool(weights[stands & wrong].sum() + 1 <= 0.15 * (weights[stands].sum() + 1) + 1e-9)

    threshold = review_threshold(confidence, wrong, weights, 0.15)
    if threshold != ACCEPT_NOTHING:
        assert kept(threshold)
    assert not any(kept(value) for value in confidence[confidence < threshold - 1e-12])


def test_a_risk_that_cannot_be_kept_lets_nothing_stand():
    confidence = np.linspace(0.5, 1.0, 30)
    assert review_threshold(confidence, np.ones(30, bool), np.ones(30), 0.1) == ACCEPT_NOTHING
    right = np.zeros(30, bool)
    assert review_threshold(confidence, right, np.ones(30), 0.1) == 0.5
    # Nine scans that are right are as good as ten of which one is wrong.
    assert review_threshold(confidence[:9], right[:9], np.ones(9), 0.1) == 0.5
    assert review_threshold(confidence[:8], right[:8], np.ones(8), 0.1) == ACCEPT_NOTHING
