"""Scans out of numbers: exchangeable, with slices that are alike, and with a known truth."""

import numpy as np


def simulated(
    generator: np.random.Generator,
    scans: int,
    *,
    skill: float = 1.5,
    alike: float = 0.7,
    most: int = 12,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels (N,), probabilities (N, 3) and the scan of each slice (N,).

    Args:
        generator: of all chance.
        scans: how many; each has one label and 1 to `most` slices.
        skill: how far the logit of the true class stands above the others.
        alike: share of the logits' variance that the slices of a scan have in common.
        most: slices.
    """
    label_of = generator.integers(0, 3, scans)
    slices = generator.integers(1, most + 1, scans)
    common = generator.normal(size=(scans, 3)) * np.sqrt(alike)
    scan_of = np.repeat(np.arange(scans), slices)
    own = generator.normal(size=(len(scan_of), 3)) * np.sqrt(1 - alike)
    logits = common[scan_of] + own
    labels = label_of[scan_of]
    logits[np.arange(len(labels)), labels] += skill
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    names = np.array([f"scan-{number:04d}" for number in range(scans)])
    return labels, shares / shares.sum(axis=1, keepdims=True), names[scan_of]
