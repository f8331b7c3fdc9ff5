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
    adjusted_bias,
    balanced_weights,
    brier_score,
    calibration_line,
    class_prior,
    error_by_chance,
    expected_calibration_error,
    fit_temperature,
    reliability,
)
from kidney.evaluation.metrics.classification import group_weights


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
    assert fit_temperature(logits[rows], labels[rows], group_weights(scans)) == pytest.approx(
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
    bins = reliability(confidence, right)
    assert sum(found.share for found in bins) == pytest.approx(1)
    assert all(found.low <= found.confidence <= found.high for found in bins)
    assert [found.low for found in bins] == sorted(found.low for found in bins)
    error = sum(found.share * abs(found.accuracy - found.confidence) for found in bins)
    assert expected_calibration_error(confidence, right) == pytest.approx(error)


def test_certainty_that_rounds_above_one_lies_in_the_last_bin():
    (found,) = reliability(np.array([1.0, 1.0000001]), np.array([True, False]))
    assert (found.low, found.high) == (14 / 15, 1.0)
    assert found.accuracy == 0.5


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


def skewed(seed: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits with the prior of a skewed set in them, labels, and that prior."""
    generator = np.random.default_rng(seed)
    prior = np.array([0.6, 0.25, 0.1, 0.05])
    labels = generator.choice(4, count, p=prior)
    # Unit normal scores about the true class: their log likelihood ratio plus the log prior.
    scores = generator.normal(size=(count, 4)) + 1.5 * np.eye(4)[labels]
    return 1.5 * scores + np.log(prior), labels, prior


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_prior_is_divided_out_by_the_bias_alone(temperature: float):
    logits, labels, prior = skewed(0, 20_000)
    weights = np.ones(len(labels))
    found = class_prior(labels, weights, 4)
    np.testing.assert_allclose(found, prior, atol=0.01)
    balanced = balanced_weights(labels, weights)
    fitted = fit_temperature(temperature * logits, labels, balanced, found)
    assert fitted == pytest.approx(temperature, rel=0.05)
    shifted = temperature * logits + adjusted_bias(np.zeros(4), found, fitted)
    probabilities = softmax(shifted / fitted, axis=1)
    plain = softmax(logits, axis=1) / found
    np.testing.assert_allclose(probabilities, plain / plain.sum(axis=1, keepdims=True), atol=0.05)
    assert (probabilities.argmax(axis=1) == 3)[labels == 3].mean() > 1.5 * (
        (logits.argmax(axis=1) == 3)[labels == 3].mean()
    )


def test_a_class_that_does_not_occur_has_a_prior_and_no_weight():
    labels = np.array([0, 0, 2])
    prior = class_prior(labels, np.ones(3), 3)
    assert prior.sum() == pytest.approx(1)
    assert 0 < prior[1] < prior[2] < prior[0]
    weights = balanced_weights(labels, np.array([1.0, 0.5, 0.5]))
    assert weights.sum() == pytest.approx(2)
    assert weights[labels == 0].sum() == pytest.approx(weights[labels == 2].sum())


@given(st.floats(0.3, 3.0), st.floats(-1.5, 1.5), st.integers(0, 100))
@settings(max_examples=15, deadline=None)
def test_a_known_calibration_line_is_found(slope: float, intercept: float, seed: int):
    generator = np.random.default_rng(seed)
    told = generator.normal(size=6000)
    has = generator.random(6000) < 1 / (1 + np.exp(-(slope * told + intercept)))
    found = calibration_line(1 / (1 + np.exp(-told)), has)
    assert found == pytest.approx((slope, intercept), abs=0.25)


def test_what_has_no_calibration_line_has_none():
    probability = np.linspace(0.1, 0.9, 20)
    for has in (np.ones(20, bool), np.zeros(20, bool), probability > 0.5):
        assert np.isnan(calibration_line(probability, has)).all()
    certain = np.repeat([0.0, 1.0], 10)
    assert np.isfinite(calibration_line(certain, np.arange(20) % 3 == 0)).all()


def test_the_brier_score_has_its_known_ends():
    labels = np.array([0, 1, 2])
    assert brier_score(np.eye(3), labels) == 0
    assert brier_score(np.eye(3)[[1, 2, 0]], labels) == 2
    assert brier_score(np.full((3, 3), 1 / 3), labels) == pytest.approx(2 / 3)
