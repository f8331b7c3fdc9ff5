"""Linear heads on the embeddings of a lesion network: classes, findings, their calibration.

Fitted in closed form on frozen embeddings, each patient with equal weight however many slices it
has. What is measured of a head comes from cross-validation by patient: network and head without the
patient.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from kidney.errors import DataError
from kidney.models.lesion_classifier import LESIONS

Floats = NDArray[np.float64]

_STRENGTH = 1.0  # inverse of the L2 penalty of the class head, on blocks of equal energy
_VALUES_GAIN = 1.5  # of the values of lesions against a block of features
_FINDING_STRENGTH = 100.0
# Of a feature: one that hardly varies would get a weight whose products float32 cannot hold.
_LEAST_DEVIATION = 0.05


@dataclass(frozen=True, eq=False)
class ClassHead:
    """A linear head: logits = embedding @ weight.T + bias; weight (K, D), bias (K,)."""

    weight: Floats
    bias: Floats

    def __call__(self, embeddings: NDArray[np.floating]) -> Floats:
        """Map embeddings (N, D or more) to logits (N, K)."""
        return embeddings[:, : self.weight.shape[1]] @ self.weight.T + self.bias


def fit_class_head(
    embeddings: NDArray[np.floating],
    labels: NDArray[np.int64],
    patients: NDArray[np.str_],
    blocks: Sequence[int],
    classes: Sequence[str],
) -> ClassHead:
    """Fit a multinomial logistic regression; the class prior is divided out of it.

    Every block of features is standardised and brought to equal energy: a stage with many channels
    counts no more than one with few (of stages 1 to 4 of EfficientNet-Lite0 the second gives most,
    and has 40 of 496 channels).

    Args:
        embeddings: float (N, D or more).
        labels: int64 (N,), class indices.
        patients: (N,).
        blocks: widths of the blocks, D in all; the first are the values of lesions.
        classes: K names.

    Raises:
        DataError: a class has no slices.
    """
    count = sum(blocks)
    weights = patient_weights(patients)
    prior = np.bincount(labels, weights, minlength=len(classes)) / weights.sum()
    if missing := [name for name, share in zip(classes, prior, strict=True) if share == 0]:
        raise DataError(
            f"Expected slices of each class to fit the head, but there are none of "
            f"{', '.join(missing)}.",
            "Add a source with labels of these classes, or take fewer folds.",
        )
    features = embeddings[:, :count].astype(np.float64)
    mean = np.average(features, axis=0, weights=weights)
    variance = np.average((features - mean) ** 2, axis=0, weights=weights)
    gains = [_VALUES_GAIN, *[1.0] * (len(blocks) - 1)]
    gain = np.concatenate(
        [
            np.full(width, of_block / np.sqrt(width))
            for width, of_block in zip(blocks, gains, strict=True)
        ]
    )
    scale = gain / (np.sqrt(variance) + _LEAST_DEVIATION)
    model = LogisticRegression(C=_STRENGTH, max_iter=500)
    model.fit((features - mean) * scale, labels, sample_weight=weights)
    rows = [list(model.classes_).index(label) for label in range(len(classes))]
    slopes, offsets = model.coef_, model.intercept_
    if len(classes) == 2:  # scikit-learn keeps one row for two classes
        slopes, offsets = np.concatenate([-slopes, slopes]) / 2, np.array([-1, 1]) * offsets / 2
    weight = slopes[rows] * scale
    return ClassHead(weight, offsets[rows] - np.log(prior) - weight @ mean)


def fit_findings(
    values: NDArray[np.floating], truth: NDArray[np.floating], patients: NDArray[np.str_]
) -> Floats:
    """Fit the probability of each finding to its value (Platt scaling), at even odds before.

    Args:
        values: float (N, 3) of LESIONS, of networks that have not seen the patient.
        truth: float (N, 3): 1 where the slice shows the finding, 0 where not, NaN where unknown.
        patients: (N,).

    Returns:
        (3, 2), slope and offset of the logit; (1, 0) where a finding has no slices of either kind.
    """
    fitted = np.array([[1.0, 0.0]] * len(LESIONS))
    for number in range(len(LESIONS)):
        known = ~np.isnan(truth[:, number])
        shows = truth[known, number] > 0
        if shows.all() or not shows.any():
            continue
        weights = patient_weights(patients[known])
        weights[shows] *= 0.5 * len(weights) / weights[shows].sum()
        weights[~shows] *= 0.5 * len(weights) / weights[~shows].sum()
        model = LogisticRegression(C=_FINDING_STRENGTH)
        model.fit(values[known, number : number + 1], shows, sample_weight=weights)
        fitted[number] = max(float(model.coef_[0, 0]), 0.0), float(model.intercept_[0])
    return fitted


def patient_weights(patients: NDArray[np.str_]) -> Floats:
    """Return a weight for each slice, (N,), equal in sum for each patient and 1 on average."""
    _, number, counts = np.unique(patients, return_inverse=True, return_counts=True)
    weights = 1.0 / counts[number]
    normalised: Floats = weights * len(patients) / weights.sum()
    return normalised
