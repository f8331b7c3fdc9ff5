"""What the slices of late look like, beside what those of the training looked like.

A few slices of each request are remembered for a moment. A thread looks at them when the request
has long been answered, counts them into bins and lets what was counted before fade. Whoever reads
/metrics gets the counts of all workers together, and how far they are from the card's baseline.
"""

import logging
import random
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import GaugeMetricFamily, Metric

from kidney.imaging.appearance import thumbnail
from kidney.serving.inference.engine import Reading, Served
from kidney.serving.monitoring.drift import Input, count, inputs, population_stability_index

RECENT = "kidney_input_recent"
WINDOW = 1000  # a slice counts for 1/e when so many have come after it
OF_A_REQUEST = 4  # slices: neighbours look alike, and one long series is not what comes of late
_AT_A_TIME = 8  # slices a look: about 10 ms of one core
_PAUSE_SECONDS = 1.0  # between looks
_LARGEST_SIDE = 1024  # pixels that are remembered; a thumbnail of every second row is much the same
_MODEL_DIGITS = 12

_log = logging.getLogger("kidney.serving")


@dataclass(frozen=True, eq=False)
class _Seen:
    model: Served
    picture: NDArray[np.uint8]
    shape: tuple[int, ...]


class Inputs:
    """The recent inputs of one process.

    Args:
        registry: where the counts are kept for /metrics.
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
        self._awake = threading.Event()
        self._thread: threading.Thread | None = None
        self._waiting: list[_Seen] = []
        self._passed = 0
        self._model: Served | None = None
        self._inputs: list[Input] = []
        self._counts: list[NDArray[np.float64]] = []

    def observe(self, slices: Sequence[NDArray[np.uint8]], reading: Reading) -> None:
        """Remember a few of the slices (H, W) of a request; takes microseconds."""
        if not reading.model.card.baseline:
            return
        step = -(-len(slices) // OF_A_REQUEST)
        with self._lock:
            for slice_ in slices[step // 2 :: step]:
                # Of all that pass between two looks each is as likely to be seen as the others
                # (reservoir sampling).
                place = random.randrange(self._passed + 1)
                self._passed += 1
                if len(self._waiting) < _AT_A_TIME:
                    self._waiting.append(_remembered(slice_, reading.model))
                elif place < _AT_A_TIME:
                    self._waiting[place] = _remembered(slice_, reading.model)
            if self._thread is None:  # in the worker: a thread of the master would not be there
                self._thread = threading.Thread(target=self._look_on, name="inputs", daemon=True)
                self._thread.start()
        self._awake.set()

    def look(self) -> None:
        """Count what is remembered now."""
        with self._lock:
            seen, self._waiting, self._passed = self._waiting, [], 0
            self._awake.clear()
        if not seen:
            return
        if self._model is None or seen[-1].model.sha256 != self._model.sha256:
            self._begin(seen[-1].model)
        seen = [one for one in seen if one.model.sha256 == seen[-1].model.sha256]
        pictures = np.stack([thumbnail(one.picture) for one in seen])
        faded = self._fading ** len(seen)
        new = count(self._inputs, pictures, [one.shape for one in seen])
        self._counts = [old * faded + more for old, more in zip(self._counts, new, strict=True)]
        self._write()

    def _begin(self, model: Served) -> None:
        """Start anew: another model has another baseline."""
        self._counts = [counts * 0 for counts in self._counts]
        if self._model is not None:
            self._write()
        self._model = model
        self._inputs = inputs(model.card.baseline)
        self._counts = [np.zeros(len(one.bins)) for one in self._inputs]

    def _write(self) -> None:
        assert self._model is not None
        name = _short(self._model)
        for one, counts in zip(self._inputs, self._counts, strict=True):
            for bin_, value in zip(one.bins, counts.tolist(), strict=True):
                self._gauge.labels(name, one.name, bin_).set(value)

    def _look_on(self) -> None:
        while True:
            self._awake.wait()
            time.sleep(_PAUSE_SECONDS)
            try:
                self.look()
            except Exception:  # whatever a slice does, the next ones are to be looked at
                _log.exception("Slices could not be compared with the baseline.")


def _remembered(slice_: NDArray[np.uint8], model: Served) -> _Seen:
    """Copy a slice, thinned where it is large: a view would keep its whole series in memory."""
    skip = max(1, min(slice_.shape) // _LARGEST_SIDE)
    return _Seen(model, slice_[::skip, ::skip].copy(), slice_.shape)


def drift_families(model: Served, recent: Metric | None) -> Iterator[Metric]:
    """Yield what /metrics says of drift: shares in the baseline, shares of late, and the distance.

    Args:
        model: whose baseline; what was counted for another model is left out.
        recent: the gauges of `Inputs`, of all workers; None: nothing was counted yet.
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
    for one in inputs(model.card.baseline):
        for bin_, share in zip(one.bins, one.expected.tolist(), strict=True):
            expected.add_metric([one.name, bin_], share)
        counts = np.array([counted.get((one.name, bin_), 0.0) for bin_ in one.bins])
        total = float(counts.sum())
        if total:
            for bin_, share in zip(one.bins, (counts / total).tolist(), strict=True):
                observed.add_metric([one.name, bin_], share)
            psi.add_metric([one.name], population_stability_index(one.expected, counts))
    slices.add_metric([], total)
    yield from (expected, observed, psi, slices)


def _short(model: Served) -> str:
    return model.sha256[:_MODEL_DIGITS]
