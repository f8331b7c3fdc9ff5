"""Input drift: recent slices beside those of the training, as one number for each feature.

The card has a baseline of the training slices (kidney.imaging.appearance). A few slices of each
request are sampled; a thread counts them into the bins of the baseline after the request has been
answered, and earlier counts fade. /metrics has the counts of all workers together, and the
population stability index of each feature.
"""

import logging
import random
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import GaugeMetricFamily, Metric

from kidney.artifact.card import Baseline
from kidney.imaging.appearance import ENHANCED_FROM, GREY_BINS, PLANES, appearance, thumbnail
from kidney.serving.inference.engine import Served

RECENT = "kidney_input_recent"
WINDOW = 1000  # a slice counts for 1/e when so many have come after it
OF_A_REQUEST = 4  # slices: neighbours look alike, and one long series is not what comes of late
# An empty bin counts as this share, as otherwise a single slice of a new size would be infinitely
# far; below it a share says nothing for the few hundred slices that are compared.
FLOOR = 0.001
_MOST_SIZES = 15  # the rest are one bin
_OTHER = "other"
_SIDES: tuple[Any, ...] = ("left", "right")
_SAMPLE = 8  # slices between two counts: about 10 ms of one core
_PAUSE_SECONDS = 1.0  # between counts
_LARGEST_SIDE = 1024  # pixels that are kept; a thumbnail of every second row is much the same
_MODEL_DIGITS = 12

_log = logging.getLogger("kidney.serving")


@dataclass(frozen=True, eq=False)
class Feature:
    """One property of slices, as the baseline has it.

    Attributes:
        name: grey, sizes, phase, plane, enhancement, soft_grey or body_share.
        bins: names of its bins.
        expected: float64 (B,), share of each bin in the baseline, sum 1.
        edges: float64 (B - 1,), ascending: where one bin ends and the next begins; empty where
            bins are no ranges.
    """

    name: str
    bins: tuple[str, ...]
    expected: NDArray[np.float64]
    edges: NDArray[np.float64]


def features(baseline: Baseline | None) -> list[Feature]:
    """Return the features that can be compared with a baseline; none without one.

    Where deciles coincide, as of a value that many slices share, their bins are one.
    """
    if baseline is None:
        return []
    step = 256 // GREY_BINS
    greys = {f"{number * step:03}": share for number, share in enumerate(baseline.grey)}
    common = sorted(baseline.sizes.items(), key=lambda item: -item[1])[:_MOST_SIZES]
    rest = max(0.0, 1 - sum(share for _, share in common))
    return [
        _named("grey", greys),
        _named("sizes", {**dict(common), _OTHER: rest}),
        _named("phase", baseline.phase),
        _named("plane", baseline.plane),
        _ranges("enhancement", baseline.enhancement),
        _ranges("soft_grey", baseline.soft_grey),
        _ranges("body_share", baseline.body_share),
    ]


def _named(name: str, shares: Mapping[str, float]) -> Feature:
    return Feature(name, tuple(shares), np.array([*shares.values()], dtype=np.float64), np.empty(0))


def _ranges(name: str, quantiles: Sequence[float]) -> Feature:
    """Turn minimum, quantiles at equal steps and maximum into bins that hold equal shares."""
    edges, lowest = np.unique(np.array(quantiles[1:-1], dtype=np.float64), return_index=True)
    steps = len(quantiles) - 1
    # An edge that several quantiles share cuts in the middle of them.
    several = np.diff(np.append(lowest, steps - 1))
    below = (lowest + 1 + lowest + several) / 2 / steps
    shares = np.diff(np.concatenate([[0.0], below, [1.0]])).round(9).astype(np.float64)
    bounds = [f"{edge:g}" for edge in edges]
    bins = [f"to {bounds[0]}", *(f"{a} to {b}" for a, b in pairwise(bounds)), f"{bounds[-1]} on"]
    return Feature(name, tuple(bins), shares, edges)


def count(
    compared: Sequence[Feature], thumbnails: NDArray[np.uint8], shapes: Sequence[tuple[int, ...]]
) -> list[NDArray[np.float64]]:
    """Count slices into the bins of each feature.

    Args:
        compared: the features to count.
        thumbnails: uint8 (N, 96, 96), as `kidney.imaging.appearance.thumbnail` makes them.
        shapes: height and width of the slices in pixels, N.

    Returns:
        For each feature float64 (B,), sum N. A slice is in one bin; in `grey` it is spread over
        them as its pixels are, and a value on an edge lies half on either side.
    """
    looks = appearance(thumbnails)
    names: dict[str, Sequence[str]] = {
        "sizes": [f"{width} x {height}" for height, width in shapes],
        "phase": np.where(looks["enhancement"] >= ENHANCED_FROM, "enhanced", "plain").tolist(),
        "plane": [PLANES[int(number)] for number in looks["plane"]],
    }
    counts: list[NDArray[np.float64]] = []
    for one in compared:
        if one.name == "grey":
            pixels = np.bincount(thumbnails.reshape(-1) // (256 // GREY_BINS), minlength=GREY_BINS)
            counts.append(np.asarray(pixels * (len(thumbnails) / thumbnails.size), np.float64))
        elif one.name in names:
            binned = [name if name in one.bins else _OTHER for name in names[one.name]]
            counts.append(np.array([binned.count(name) for name in one.bins], dtype=np.float64))
        else:
            sides = [np.searchsorted(one.edges, looks[one.name], side) for side in _SIDES]
            bins = np.concatenate(sides)
            counts.append(np.bincount(bins, minlength=len(one.bins)) / len(_SIDES))
    return counts


def population_stability_index(
    expected: NDArray[np.float64], observed: NDArray[np.float64]
) -> float:
    """Return how far two histograms are from each other: sum of (o - e) ln(o / e), 0 or more.

    It is the Kullback-Leibler divergence both ways, added (Jeffreys 1946). By custom below 0.1
    nothing has changed, above 0.25 the population is another one (Siddiqi, Credit Risk Scorecards,
    2006). For N independent slices and B bins it is about (B - 1) / N where nothing has changed
    (Yurdakul, Statistical Properties of Population Stability Index, 2018).

    Args:
        expected: (B,) shares or counts, 0 or more, not all of them 0.
        observed: (B,) the same, of what is compared.
    """
    e, o = (_floored(values / values.sum()) for values in (expected, observed))
    return float(((o - e) * np.log(o / e)).sum())


def _floored(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    raised: NDArray[np.float64] = np.maximum(shares, FLOOR)
    return raised / float(raised.sum())


@dataclass(frozen=True, eq=False)
class _Sampled:
    model: Served
    picture: NDArray[np.uint8]
    shape: tuple[int, ...]


class RecentInputs:
    """The recent inputs of one process, counted for /metrics.

    Args:
        registry: of the counts.
        window: slices, see WINDOW.
    """

    def __init__(self, registry: CollectorRegistry, window: int = WINDOW) -> None:
        self._gauge = Gauge(
            RECENT,
            "Recent slices by what they look like, earlier ones faded.",
            ["model", "input", "bin"],
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._fading = float(np.exp(-1 / window))
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._sample: list[_Sampled] = []
        self._observed = 0
        self._model: Served | None = None
        self._features: list[Feature] = []
        self._counts: list[NDArray[np.float64]] = []

    def observe(self, model: Served, slices: Sequence[NDArray[np.uint8]]) -> None:
        """Sample the slices (H, W) of a request; takes microseconds."""
        if not model.card.baseline:
            return
        step = -(-len(slices) // OF_A_REQUEST)
        with self._lock:
            for slice_ in slices[step // 2 :: step]:
                # Each slice between two counts is as likely to be kept as the others (reservoir
                # sampling).
                position = random.randrange(self._observed + 1)
                self._observed += 1
                if len(self._sample) < _SAMPLE:
                    self._sample.append(_thinned(slice_, model))
                elif position < _SAMPLE:
                    self._sample[position] = _thinned(slice_, model)
            if self._thread is None:  # in the worker: a thread of the master would not be there
                self._thread = threading.Thread(target=self._run, name="drift", daemon=True)
                self._thread.start()
        self._wake.set()

    def update(self) -> None:
        """Count the slices that were sampled since the last time."""
        with self._lock:
            sample, self._sample, self._observed = self._sample, [], 0
            self._wake.clear()
        if not sample:
            return
        model = sample[-1].model
        if self._model is None or model.sha256 != self._model.sha256:
            self._reset(model)
        sample = [one for one in sample if one.model.sha256 == model.sha256]
        pictures = np.stack([thumbnail(one.picture) for one in sample])
        faded = self._fading ** len(sample)
        new = count(self._features, pictures, [one.shape for one in sample])
        self._counts = [old * faded + more for old, more in zip(self._counts, new, strict=True)]
        self._write()

    def _reset(self, model: Served) -> None:
        """Start anew: another model has another baseline."""
        self._counts = [counts * 0 for counts in self._counts]
        self._write()
        self._model = model
        self._features = features(model.card.baseline)
        self._counts = [np.zeros(len(one.bins)) for one in self._features]

    def _write(self) -> None:
        for one, counts in zip(self._features, self._counts, strict=True):
            for bin_, value in zip(one.bins, counts.tolist(), strict=True):
                self._gauge.labels(_short(self._model), one.name, bin_).set(value)

    def _run(self) -> None:
        while True:
            self._wake.wait()
            time.sleep(_PAUSE_SECONDS)
            try:
                self.update()
            except Exception:  # one slice must not end the comparison of the next ones
                _log.exception("Slices could not be compared with the baseline.")


def _thinned(slice_: NDArray[np.uint8], model: Served) -> _Sampled:
    """Copy a slice, thinned where it is large: a view would keep its whole series in memory."""
    skip = max(1, min(slice_.shape) // _LARGEST_SIDE)
    return _Sampled(model, slice_[::skip, ::skip].copy(), slice_.shape)


def drift_families(model: Served, recent: Metric | None) -> Iterator[Metric]:
    """Yield the metrics of drift: shares in the baseline, recent shares, and the distance.

    Args:
        model: whose baseline; what was counted for another model is left out.
        recent: the gauges of `RecentInputs`, of all workers; None: nothing was counted yet.
    """
    labels = ["input", "bin"]
    expected = GaugeMetricFamily(
        "kidney_baseline_share", "Share of the training slices.", labels=labels
    )
    observed = GaugeMetricFamily("kidney_input_share", "Share of recent slices.", labels=labels)
    psi = GaugeMetricFamily(
        "kidney_drift_psi",
        "Population stability index of recent slices to the training; above 0.25 is another one.",
        labels=["input"],
    )
    slices = GaugeMetricFamily("kidney_drift_slices", "Recent slices, earlier ones faded.")
    counted = {
        (sample.labels["input"], sample.labels["bin"]): sample.value
        for sample in (recent.samples if recent else ())
        if sample.labels["model"] == _short(model)
    }
    total = 0.0
    for one in features(model.card.baseline):
        for bin_, share in zip(one.bins, one.expected.tolist(), strict=True):
            expected.add_metric([one.name, bin_], share)
        counts = np.array([counted.get((one.name, bin_), 0.0) for bin_ in one.bins])
        if total := float(counts.sum()):
            for bin_, share in zip(one.bins, (counts / total).tolist(), strict=True):
                observed.add_metric([one.name, bin_], share)
            psi.add_metric([one.name], population_stability_index(one.expected, counts))
    slices.add_metric([], total)
    yield from (expected, observed, psi, slices)


def _short(model: Served | None) -> str:
    return model.sha256[:_MODEL_DIGITS] if model else ""
