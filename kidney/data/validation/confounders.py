"""Confounders: properties of a scan that predict the label, though no finding depends on them.

A model may read these instead of the finding. Each is measured once a scan, since slices of a scan
repeat each other, with an effect size on the scale of a correlation: 0.1 is small, 0.3 medium, 0.5
large (Cohen 1988); 1 means that the property alone predicts the label.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

KINDS = {  # column: what people call it
    "phase": "Contrast phase",
    "plane": "Plane",
    "size": "Picture size",
    "window": "Window",
    "enhancement": "Brightness of organs",
    "soft_grey": "Grey of soft tissue (window and contrast)",
    "body_share": "Body size in the picture",
    "pixel_mm": "Pixel size in mm",
    "slice_mm": "Slice distance in mm",
}
STRONG = 0.5
_CATEGORIES = ("phase", "plane", "size", "window")


@dataclass(frozen=True)
class Confounder:
    """One property against the label.

    Attributes:
        name: its column.
        title: what people call it.
        effect: 0 to 1; bias-corrected Cramer's V of categories, root of epsilon squared of numbers.
        accuracy: share of scans whose label a guess from this property alone gets right; of numbers
            the guess is the label whose median is nearest.
        majority: that share for a guess of the most frequent label.
        counts: label -> category -> number of scans; empty for numbers.
        values: label -> the scans' numbers; empty for categories.
    """

    name: str
    title: str
    effect: float
    accuracy: float
    majority: float
    counts: dict[str, dict[str, int]]
    values: dict[str, list[float]]

    def is_strong(self) -> bool:
        """Return whether the effect is large; `enhancement` is left out: phase stands for it."""
        return self.effect >= STRONG and self.name != "enhancement"

    def sentence(self) -> str:
        """Describe how the property is distributed over the labels."""
        if self.counts:
            return _in_categories(self.title, self.counts)
        medians = ", ".join(f"{label} {np.median(v):.3g}" for label, v in self.values.items())
        return f"{self.title}: medians {medians}."


def _in_categories(title: str, counts: dict[str, dict[str, int]]) -> str:
    totals: dict[str, int] = {}
    for row in counts.values():
        for category, count in row.items():
            totals[category] = totals.get(category, 0) + count
    # Of two categories one is enough: "enhanced" and not "plain", "axial" and not "coronal".
    shown = min(totals) if len(totals) == 2 else max(totals, key=lambda name: totals[name])
    shares = {label: (row.get(shown, 0), sum(row.values())) for label, row in counts.items()}
    parts = [
        f"{label} is {_how_often(count / scans)} {shown} ({count} of {scans} scans)"
        for label, (count, scans) in sorted(shares.items(), key=lambda kv: -kv[1][0] / kv[1][1])
    ]
    return f"{title}: {', '.join(parts)}."


def _how_often(share: float) -> str:
    named = {0.0: "never", 1.0: "always"}
    return named.get(share, "mostly" if share > 0.5 else "sometimes")


def by_scan(slices: pd.DataFrame) -> pd.DataFrame:
    """Return one row a scan and label: most frequent category and median number of its slices."""
    table = slices.assign(size=slices["width"].astype(str) + " x " + slices["height"].astype(str))
    groups = table.groupby(["scan", "label"], sort=False)
    numbers = [name for name in KINDS if name not in _CATEGORIES]
    scans = groups[numbers].median()
    for name in _CATEGORIES:
        counts = table.groupby(["scan", "label", name], sort=False).size().reset_index(name="times")
        frequent = counts.sort_values("times", ascending=False, kind="stable")
        scans[name] = frequent.drop_duplicates(["scan", "label"]).set_index(["scan", "label"])[name]
    return scans.reset_index()


def confounders(slices: pd.DataFrame) -> list[Confounder]:
    """Measure every property that varies in the manifest, strongest effect first."""
    scans = by_scan(slices)
    found = []
    for name in KINDS:
        known = scans[scans[name].notna() & (scans[name] != "")]
        if known[name].nunique() > 1 and known["label"].nunique() > 1:
            measure = _of_categories if name in _CATEGORIES else _of_numbers
            found.append(measure(name, known["label"].astype(str), known[name]))
    return sorted(found, key=lambda confounder: -confounder.effect)


def _of_categories(name: str, labels: pd.Series, values: pd.Series) -> Confounder:
    table = pd.crosstab(labels, values)
    counts = {
        str(label): {str(category): int(n) for category, n in row.items()}
        for label, row in table.iterrows()
    }
    right = float(table.max(axis=0).sum() / len(values))
    return _measured(name, cramers_v(table.to_numpy()), right, labels, counts, {})


def _of_numbers(name: str, labels: pd.Series, values: pd.Series) -> Confounder:
    numbers = values.to_numpy(np.float64)
    medians = pd.Series(numbers).groupby(labels.to_numpy()).median()
    guess = np.abs(numbers[:, None] - medians.to_numpy()).argmin(axis=1)
    right = float((medians.index.to_numpy()[guess] == labels.to_numpy()).mean())
    rounded = {
        str(label): [round(float(value), 4) for value in numbers[(labels == label).to_numpy()]]
        for label in medians.index
    }
    return _measured(name, epsilon(labels.to_numpy(), numbers), right, labels, {}, rounded)


def _measured(
    name: str,
    effect: float,
    right: float,
    labels: pd.Series,
    counts: dict[str, dict[str, int]],
    values: dict[str, list[float]],
) -> Confounder:
    majority = float(labels.value_counts(normalize=True).iloc[0])
    figures = (round(effect, 3), round(right, 3), round(majority, 3))
    return Confounder(name, KINDS[name], *figures, counts, values)


def cramers_v(counts: NDArray[np.int64]) -> float:
    """Return the bias-corrected Cramer's V of a table of counts (Bergsma 2013), 0 to 1.

    Args:
        counts: (labels, categories), no empty row or column.
    """
    total = counts.sum()
    expected = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0, keepdims=True) / total
    phi = float(((counts - expected) ** 2 / expected).sum() / total)
    rows, columns = counts.shape
    phi = max(0.0, phi - (rows - 1) * (columns - 1) / (total - 1))
    rows = rows - (rows - 1) ** 2 / (total - 1)
    columns = columns - (columns - 1) ** 2 / (total - 1)
    smaller = min(rows, columns) - 1
    return min(1.0, float(np.sqrt(phi / smaller))) if smaller > 0 else 0.0


def epsilon(labels: NDArray[np.object_], numbers: NDArray[np.float64]) -> float:
    """Return the root of epsilon squared (Kelley 1935), 0 to 1: spread of numbers between labels.

    Args:
        labels: (n,).
        numbers: (n,).
    """
    total = float(((numbers - numbers.mean()) ** 2).sum())
    names = np.unique(labels)
    within = sum(
        float(((numbers[labels == name] - numbers[labels == name].mean()) ** 2).sum())
        for name in names
    )
    free = len(numbers) - len(names)
    if total == 0 or free <= 0:
        return 0.0
    squared = 1 - within / free * (len(numbers) - 1) / total
    return float(np.sqrt(max(0.0, squared)))
