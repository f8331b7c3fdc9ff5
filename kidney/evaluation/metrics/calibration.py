"""Do probabilities mean what they say? Temperature, prior, and the error that is left.

`labels` is int64 (N,), class indices below K; `confidence` float (N,), the highest probability of
each slice, 0 to 1; `right` bool (N,), whether its class is the true one; `patients` (N,).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit, softmax

from kidney.evaluation.result import Bin

BINS = 15
TEMPERATURES = (0.05, 20.0)
_EDGE = 1e-6  # probabilities of 0 and 1 have no logit
_NEWTON_STEPS = 50
_LONGEST_STEP = 2.0
_SINGULAR = 1e12


def fit_temperature(
    logits: NDArray[np.floating],
    labels: NDArray[np.int64],
    weights: NDArray[np.floating],
    prior: NDArray[np.floating] | None = None,
) -> float:
    """Return the temperature T that makes the probabilities fit the labels best.

    The weighted cross-entropy is convex in 1 / T (Guo et al., On Calibration of Modern Neural
    Networks, 2017), so its derivative has one zero. One more observation, shared evenly by all
    classes, keeps a few scans that are all called right from asking for certainty (Platt 1999
    smooths his targets for the same reason).

    Args:
        weights: float (N,), how many independent observations a slice is worth. With
            `group_weights` each patient is one: in nested cross-validation on the public set (91
            scans, 5 folds, 6 assignments, frozen EfficientNet-Lite0) one for each scan left an ECE
            of 0.045 where slices of weight one left 0.054 and no temperature 0.112. With a prior,
            `balanced_weights`: the adjusted probabilities are for equally frequent classes.
        prior: float (K,); the probabilities are softmax(logits / T - log(prior)), see
            `adjusted_bias`. None: softmax(logits / T).

    Returns:
        T, 0.05 to 20.
    """
    classes = logits.shape[1]
    offset = 0.0 if prior is None else -np.log(prior)
    observations = weights.sum()
    targets = np.eye(classes)[labels]
    targets = (observations * targets + 1.0 / classes) / (observations + 1.0)

    def slope(sharpness: float) -> float:
        """Differentiate the cross-entropy by 1 / T."""
        excess = softmax(sharpness * logits + offset, axis=1) - targets
        return float(weights @ (excess * logits).sum(axis=1))

    least, most = 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]
    if slope(most) < 0:
        return TEMPERATURES[0]
    if slope(least) > 0:
        return TEMPERATURES[1]
    return float(1 / brentq(slope, least, most))


def class_prior(
    labels: NDArray[np.int64], weights: NDArray[np.floating], classes: int
) -> NDArray[np.float64]:
    """Return the share of each class in the training part, float (K,), sum 1.

    One observation more, shared evenly by all classes, keeps a class that does not occur above 0.

    Args:
        weights: float (N,), see `fit_temperature`: what training saw as equally much.
    """
    counts = np.bincount(labels, weights, classes) + 1.0 / classes
    return np.asarray(counts / counts.sum())


def balanced_weights(
    labels: NDArray[np.int64], weights: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Scale weights, float (N,), so that all classes that occur have one sum; the total stays."""
    totals = np.bincount(labels, weights)
    return np.asarray(weights * weights.sum() / (totals[labels] * np.count_nonzero(totals)))


def adjusted_bias(
    bias: NDArray[np.floating], prior: NDArray[np.floating], temperature: float
) -> NDArray[np.float64]:
    """Fold the prior into the bias of the head: float (K,), bias - T log(prior).

    Logit adjustment (Menon et al., ICLR 2021): softmax((logits - T log(prior)) / T) is p / prior,
    renormalised. By Bayes' theorem that is the probability if all classes were equally frequent, so
    the most probable class no longer leans to those with many patients in training, and the
    operating points of rare findings lie where probabilities are well spread. Folded into the bias
    it needs nothing of a consumer: logit = mean(evidence) + bias stays exact, and the evidence the
    same.
    """
    return np.asarray(bias - temperature * np.log(prior))


def calibration_line(
    probability: NDArray[np.floating],
    has_finding: NDArray[np.bool_],
    weights: NDArray[np.floating] | None = None,
) -> tuple[float, float]:
    """Return slope and intercept of the calibration of P(finding); 1 and 0 are perfect.

    Logistic regression of the finding on the logit of its probability (Cox 1958; Van Calster et
    al., BMC Medicine 2019). A slope below 1: probabilities are too extreme. An intercept above 0:
    the finding is more frequent than predicted; at a prevalence other than that of the
    probabilities it cannot be 0.

    Args:
        weights: float (N,), what a slice counts; None: all the same.

    Returns:
        Slope and intercept; NaN where one kind is missing, or where a threshold separates both and
        the slope has no end.
    """
    if has_finding.all() or not has_finding.any():
        return float("nan"), float("nan")
    weights = np.ones(len(probability)) if weights is None else weights
    inside = np.clip(probability.astype(np.float64), _EDGE, 1 - _EDGE)
    design = np.stack([logit(inside), np.ones(len(inside))])  # (2, N)
    line = np.array([1.0, 0.0])
    for _ in range(_NEWTON_STEPS):
        expected = expit(line @ design)
        gradient = design @ (weights * (has_finding - expected))
        curvature = (design * (weights * expected * (1 - expected))) @ design.T
        if np.linalg.cond(curvature) > _SINGULAR:
            return float("nan"), float("nan")
        step = np.linalg.solve(curvature, gradient)
        line = line + step * min(1.0, _LONGEST_STEP / np.abs(step).max())
        if np.abs(step).max() < 1e-8:
            return float(line[0]), float(line[1])
    return float("nan"), float("nan")


def brier_score(probabilities: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """Return the mean squared distance of the probabilities (N, K) from the truth, 0 to 2.

    Brier 1950. It falls with better ranking and with better calibration; 0 is perfect, K equal
    probabilities give 1 - 1 / K.
    """
    truth = np.eye(probabilities.shape[1])[labels]
    return float(((probabilities - truth) ** 2).sum(axis=1).mean())


def reliability(confidence: NDArray[np.floating], right: NDArray[np.bool_]) -> list[Bin]:
    """Return the bins of the reliability diagram that hold predictions: 15 of equal width."""
    share, confident, accurate = _sums(confidence, right)
    return [
        Bin(
            low=number / BINS,
            high=(number + 1) / BINS,
            confidence=float(confident[number] / share[number]),
            accuracy=float(accurate[number] / share[number]),
            share=float(share[number]),
        )
        for number in np.flatnonzero(share).tolist()
    ]


def expected_calibration_error(confidence: NDArray[np.floating], right: NDArray[np.bool_]) -> float:
    """Return the expected calibration error of the most probable class, 0 to 1.

    The mean over the bins of `reliability`, weighted by share, of |accuracy - confidence| (Naeini
    et al. 2015; 15 bins of equal width as Guo et al. 2017). Chance alone makes it positive, since
    few patients in a bin differ from their expectation: see `error_by_chance`.
    """
    _, confident, accurate = _sums(confidence, right)
    return float(np.abs(confident - accurate).sum())


def error_by_chance(
    probabilities: NDArray[np.floating], patients: NDArray[np.str_], draws: int = 200, seed: int = 0
) -> NDArray[np.float64]:
    """Return the errors, float (draws,), that these probabilities would show if they were true.

    Labels are drawn from the probabilities themselves, with one random number a patient, so that
    its slices agree as far as their probabilities let them (consistency resampling, Broecker and
    Smith 2007, by patient). An error that is common among these is no sign of bad calibration: 91
    scans of the public set at a mean confidence of 0.65 show 0.05 on average, 0.03 to 0.09.
    """
    generator = np.random.default_rng(seed)
    names, patient_of = np.unique(patients, return_inverse=True)
    confidence, called = probabilities.max(axis=1), probabilities.argmax(axis=1)
    classes = probabilities.shape[1]
    errors = []
    for _ in range(draws):
        order = generator.permutation(classes)  # else neighbours in the list would be confused most
        below = probabilities[:, order].cumsum(axis=1)
        place = (below < generator.random(len(names))[patient_of, None]).sum(axis=1)
        labels = order[np.minimum(place, classes - 1)]
        errors.append(expected_calibration_error(confidence, called == labels))
    return np.array(errors)


def _sums(confidence: NDArray[np.floating], right: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return for each bin its share, and that times its mean confidence and accuracy: (3, 15)."""
    # A float32 softmax may end a little above 1.
    number = np.clip((confidence * BINS).astype(np.int64), 0, BINS - 1)
    parts = (np.ones(len(confidence)), confidence, right)
    return np.array([np.bincount(number, part, BINS) for part in parts]) / len(confidence)
