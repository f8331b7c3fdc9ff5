import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from torchmetrics.functional.classification import multiclass_calibration_error

from kidney.evaluation.metrics.calibration import (
    BINS,
    TEMPERATURES,
    error_by_chance,
    expected_calibration_error,
    fit_temperature,
    reliability,
)
from kidney.evaluation.metrics.scan_level import scan_weights


def answers(seed: int, count: int, spread: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from the very probabilities that the logits mean."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(count, 4)) * spread
    below = softmax(logits, axis=1).cumsum(axis=1) < generator.random((count, 1))
    return logits, np.minimum(below.sum(axis=1), 3)


@given(st.floats(0.2, 5.0), st.integers(0, 100))
@settings(max_examples=15, deadline=None)
def test_a_known_temperature_is_found(temperature: float, seed: int):
    logits, labels = answers(seed, 4000)
    found = fit_temperature(logits * temperature, labels, np.ones(4000))
    assert found == pytest.approx(temperature, rel=0.12)


def test_it_is_the_minimum_that_another_optimiser_finds():
    logits, labels = answers(3, 300)
    weights = np.random.default_rng(0).uniform(0.1, 2.0, 300)
    n = weights.sum()
    targets = (n * np.eye(4)[labels] + 0.25) / (n + 1)

    def loss(temperature: float) -> float:
        return -(weights[:, None] * targets * log_softmax(logits / temperature, axis=1)).sum()

    best = minimize_scalar(loss, bounds=TEMPERATURES, method="bounded", options={"xatol": 1e-8})
    assert fit_temperature(logits, labels, weights) == pytest.approx(best.x, rel=1e-4)


def test_a_slice_of_weight_two_is_two_slices():
    logits, labels = answers(1, 60)
    weights = np.random.default_rng(0).integers(1, 4, 60)
    repeated = np.repeat(np.arange(60), weights)
    assert fit_temperature(logits, labels, weights) == pytest.approx(
        fit_temperature(logits[repeated], labels[repeated], np.ones(len(repeated)))
    )


def test_many_slices_of_one_scan_weigh_no_more_than_that_scan():
    logits, labels = answers(2, 30)
    repeats = np.where(np.arange(30) == 0, 500, 1)
    rows = np.repeat(np.arange(30), repeats)
    scans = np.array([f"s{row}" for row in rows])
    assert fit_temperature(logits[rows], labels[rows], scan_weights(scans)) == pytest.approx(
        fit_temperature(logits, labels, np.ones(30))
    )


@pytest.mark.parametrize("count", [5, 50])
def test_a_few_scans_that_are_all_right_ask_for_no_certainty(count: int):
    labels = np.arange(count) % 4
    logits = 3.0 * np.eye(4)[labels]
    temperature = fit_temperature(logits, labels, np.ones(count))
    confidence = softmax(logits / temperature, axis=1).max()
    assert 1 - 1 / (count + 1) <= confidence < 1


def test_temperatures_stay_within_their_bounds():
    labels = np.arange(400) % 4
    assert fit_temperature(-np.eye(4)[labels], labels, np.ones(400)) == TEMPERATURES[1]
    tiny = 1e-3 * np.eye(4)[labels]
    assert fit_temperature(tiny, labels, np.ones(400)) == TEMPERATURES[0]
    assert TEMPERATURES[0] <= fit_temperature(np.zeros((4, 4)), labels[:4], np.ones(4))


@given(st.integers(0, 1000), st.integers(1, 300))
@settings(max_examples=25, deadline=None)
def test_the_error_is_that_of_torchmetrics(seed: int, count: int):
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet(np.full(4, 0.5), count).astype(np.float32)
    labels = generator.integers(0, 4, count)
    right = probabilities.argmax(axis=1) == labels
    theirs = multiclass_calibration_error(
        torch.from_numpy(probabilities), torch.from_numpy(labels), num_classes=4, n_bins=BINS
    )
    ours = expected_calibration_error(probabilities.max(axis=1), right)
    assert ours == pytest.approx(float(theirs), abs=1e-5)


def test_true_probabilities_have_a_small_error_and_others_a_large_one():
    logits, labels = answers(0, 20_000)

    def error(temperature: float) -> float:
        probabilities = softmax(logits / temperature, axis=1)
        return expected_calibration_error(
            probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
        )

    assert error(1.0) < 0.015
    assert min(error(0.5), error(2.0)) > 0.05


def test_the_bins_add_up_to_the_error():
    logits, labels = answers(4, 500)
    probabilities = softmax(logits * 1.7, axis=1)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    weights = np.random.default_rng(1).uniform(size=500)
    bins = reliability(confidence, right, weights)
    assert sum(found["share"] for found in bins) == pytest.approx(1)
    assert all(found["low"] <= found["confidence"] <= found["high"] for found in bins)
    assert [found["low"] for found in bins] == sorted(found["low"] for found in bins)
    error = sum(found["share"] * abs(found["accuracy"] - found["confidence"]) for found in bins)
    assert expected_calibration_error(confidence, right, weights) == pytest.approx(error)


def test_a_weight_of_two_is_two_answers_in_the_bins_too():
    confidence = np.array([0.4, 0.6, 0.9])
    right = np.array([True, False, True])
    twice = np.array([0, 1, 1, 2])
    assert expected_calibration_error(
        confidence, right, np.array([1.0, 2.0, 1.0])
    ) == pytest.approx(expected_calibration_error(confidence[twice], right[twice]))


def test_certainty_that_rounds_above_one_lies_in_the_last_bin():
    (found,) = reliability(np.array([1.0, 1.0000001]), np.array([True, False]))
    assert (found["low"], found["high"]) == (14 / 15, 1.0)
    assert found["accuracy"] == 0.5


def test_chance_alone_makes_an_error_that_falls_with_the_number_of_scans():
    probabilities = np.repeat(np.random.default_rng(0).dirichlet(np.ones(4), 40), 30, axis=0)
    few = error_by_chance(probabilities, np.arange(1200) // 30)
    many = error_by_chance(probabilities, np.arange(1200))
    assert few.mean() > 3 * many.mean() > 0
    assert (error_by_chance(probabilities, np.arange(1200) // 30, seed=1) != few).any()


def test_true_probabilities_err_as_much_as_chance_does():
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.ones(4), 500)
    names = np.arange(500)
    confidence, called = probabilities.max(axis=1), probabilities.argmax(axis=1)
    errors = []
    for _ in range(100):
        labels = (probabilities.cumsum(axis=1) < generator.random((500, 1))).sum(axis=1)
        errors.append(expected_calibration_error(confidence, called == labels))
    assert error_by_chance(probabilities, names).mean() == pytest.approx(np.mean(errors), rel=0.1)
    assert error_by_chance(np.eye(4)[[0, 1, 2]], names[:3]).max() == 0.0
