import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kidney.evaluation.metrics.operating_points import (
    operating_point,
    sensitivity_of,
    specificity_of,
)
from kidney.evaluation.metrics.scan_level import scan_weights

SEEDS = st.integers(0, 10_000)


def scores(
    generator: np.random.Generator, scans: int, alike: float
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of the slices of scans that have a finding, and their scans."""
    scan_of = np.repeat(np.arange(scans), generator.integers(1, 25, scans))
    common = generator.normal(size=scans)[scan_of]
    own = generator.normal(size=len(scan_of))
    logits = np.sqrt(alike) * common + np.sqrt(1 - alike) * own
    return 1 / (1 + np.exp(-logits)), np.array([f"scan-{number:03d}" for number in scan_of])


@pytest.mark.parametrize("scans", [6, 10, 30])
@pytest.mark.parametrize("alike", [0.2, 0.6])
def test_fresh_scans_are_found_as_often_as_stated(scans: int, alike: float):
    generator = np.random.default_rng(0)
    fresh, fresh_scans = scores(generator, 400, alike)
    weights = scan_weights(fresh_scans)
    found = []
    for _ in range(100):
        probabilities, names = scores(generator, scans, alike)
        threshold = operating_point(probabilities, names, 0.9)
        found.append(np.average(fresh >= threshold, weights=weights))
    assert np.mean(found) == pytest.approx(0.9, abs=0.03)


def test_the_plain_quantile_would_miss_more():
    generator = np.random.default_rng(0)
    fresh, _ = scores(generator, 400, 0.8)
    ours, plain = [], []
    for _ in range(100):
        probabilities, names = scores(generator, 6, 0.8)
        ours.append(sensitivity_of(fresh, operating_point(probabilities, names, 0.9)))
        plain.append(sensitivity_of(fresh, np.quantile(probabilities, 0.1)))
    assert np.mean(plain) < 0.87 < np.mean(ours)


def test_a_class_of_scans_that_never_agree_is_always_suspected():
    names = np.repeat(["a", "b", "c"], 5)
    assert operating_point(np.repeat([0.1, 0.5, 0.9], 5), names, 0.9) == 0.0
    assert operating_point(np.repeat([0.5, 0.5, 0.5], 5), names, 0.9) == 0.5


@pytest.mark.parametrize("count", [0, 7])
def test_one_scan_says_nothing_of_the_next(count: int):
    assert operating_point(np.full(count, 0.8), np.full(count, "only"), 0.9) == 0.0


@given(SEEDS, st.integers(2, 15))
@settings(max_examples=25, deadline=None)
def test_it_finds_at_least_the_stated_share_of_its_own_scans(seed: int, scans: int):
    probabilities, names = scores(np.random.default_rng(seed), scans, 0.6)
    found = probabilities >= operating_point(probabilities, names, 0.9)
    assert np.average(found, weights=scan_weights(names)) >= 0.9 - 1e-9


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_neither_order_nor_copies_of_slices_change_it(seed: int):
    generator = np.random.default_rng(seed)
    probabilities, names = scores(generator, 8, 0.6)
    threshold = operating_point(probabilities, names, 0.9)
    rows = generator.permutation(len(names))
    assert operating_point(probabilities[rows], names[rows], 0.9) == threshold
    one = names == names[0]
    copies = np.concatenate([np.arange(len(names)), *(np.flatnonzero(one),) * 3])
    assert operating_point(probabilities[copies], names[copies], 0.9) == threshold


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_more_sensitivity_costs_specificity(seed: int):
    probabilities, names = scores(np.random.default_rng(seed), 12, 0.4)
    thresholds = [operating_point(probabilities, names, s) for s in (0.6, 0.75, 0.9, 0.97)]
    others = probabilities * 0.8
    specificities = [specificity_of(others, threshold) for threshold in thresholds]
    assert specificities == sorted(specificities, reverse=True)


def test_shares_are_counted_and_undefined_without_slices():
    assert sensitivity_of(np.array([0.2, 0.5, 0.9]), 0.5) == pytest.approx(2 / 3)
    assert specificity_of(np.array([0.2, 0.5, 0.9]), 0.5) == pytest.approx(1 / 3)
    assert np.isnan(sensitivity_of(np.array([]), 0.5))
    assert np.isnan(specificity_of(np.array([]), 0.5))
