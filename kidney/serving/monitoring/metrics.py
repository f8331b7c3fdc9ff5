"""What Prometheus reads at /metrics: requests, answers, the model, and how far inputs have drifted.

Each worker keeps its values in files that the others read
(`kidney.serving.monitoring.metrics_folder`), so whichever is asked answers
for all of them. In one process, as in tests, memory does.
"""

import os
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from flask import Blueprint, Flask, Response, g, has_request_context, request
from numpy.typing import NDArray
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from kidney.artifact.decision import decide
from kidney.serving.inference.engine import Engine, Reading
from kidney.serving.monitoring.inputs import RECENT, drift_families
from kidney.serving.monitoring.logs import METHODS, route

OnRead = Callable[[Sequence[NDArray[np.uint8]], Reading], None]

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_CONFIDENCE = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1)
_RATIOS = (0.25, 0.5, 0.7, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2, 4)
_REFUSALS = (429, 503, 504)
_NOT_OF_USERS = ("/healthz", "/readyz", "/metrics")


def count_readings(registry: CollectorRegistry, then: OnRead) -> OnRead:
    """Return what counts the slices of a reading and what is said of them, and then does `then`.

    It is called in the thread of the request and leaves there, in `g.read`, what the log tells.
    Readings outside of requests, as to warm up, are not counted.
    """
    slices_read = Counter("kidney_slices", "Slices that were read.", registry=registry)
    decisions = Counter(
        "kidney_decisions", "Slices by what was decided.", ["decision"], registry=registry
    )
    labels = Counter(
        "kidney_labels", "Slices by their most probable class.", ["label"], registry=registry
    )
    confidence = Histogram(
        "kidney_confidence",
        "Highest probability of a slice.",
        buckets=_CONFIDENCE,
        registry=registry,
    )
    unfamiliar = Histogram(
        "kidney_ood_ratio",
        "OOD score of a slice by the card's limit; above 1 it is not a kidney CT.",
        buckets=_RATIOS,
        registry=registry,
    )

    def on_read(slices: Sequence[NDArray[np.uint8]], reading: Reading) -> None:
        if not has_request_context():
            return
        card, outcomes, named = reading.model.card, Tally[str](), Tally[str]()
        for answer in reading.answers:
            decision = decide(answer.probabilities, card.classes, card.rules, answer.ood_score)
            outcomes[decision.outcome] += 1
            named[decision.label] += 1
            confidence.observe(decision.probability)
            if card.rules.ood_above and answer.ood_score is not None:
                unfamiliar.observe(answer.ood_score / card.rules.ood_above)
        slices_read.inc(len(slices))
        for outcome, count in outcomes.items():
            decisions.labels(outcome).inc(count)
        for label, count in named.items():
            labels.labels(label).inc(count)
        g.read = {"slices": len(slices), "decisions": dict(outcomes)}
        then(slices, reading)

    return on_read


def register(app: Flask, registry: CollectorRegistry, engine: Engine) -> None:
    """Let `app` count its requests and answer at /metrics."""
    answered = Counter(
        "kidney_requests",
        "Requests by route, method and status.",
        ["route", "method", "status"],
        registry=registry,
    )
    refused = Counter(
        "kidney_refusals",
        "Requests that were sent away: 429 too many of one key, 503 and 504 too busy.",
        ["status"],
        registry=registry,
    )
    for status in _REFUSALS:
        refused.labels(str(status))  # 0 until the first: what appears late has no rate
    seconds = Histogram(
        "kidney_request_seconds",
        "How long requests took, from their headers to the answer.",
        ["route"],
        buckets=_SECONDS,
        registry=registry,
    )
    inside = Gauge(
        "kidney_requests_in_flight",
        "Requests that are not yet answered.",
        multiprocess_mode="livesum",
        registry=registry,
    )

    ready = Gauge(
        "kidney_workers_ready",
        "Workers whose model predicts.",
        multiprocess_mode="livesum",
        registry=registry,
    )
    swaps = Counter(
        "kidney_model_swaps",
        "Times that another model was to take over, of all workers: done, or failed.",
        ["result"],
        registry=registry,
    )
    done, failed = swaps.labels("done"), swaps.labels("failed")
    ready.set(engine.ready)

    def changed(took_over: bool) -> None:
        (done if took_over else failed).inc()
        ready.set(engine.ready)

    engine.on_change = changed

    @app.before_request
    def begin() -> None:
        inside.inc()
        g.counted = True

    @app.after_request
    def finish(response: Response) -> Response:
        method = request.method if request.method in METHODS else "other"
        answered.labels(route(), method, str(response.status_code)).inc()
        if response.status_code in _REFUSALS and request.path not in _NOT_OF_USERS:
            refused.labels(str(response.status_code)).inc()
        seconds.labels(route()).observe(time.perf_counter() - g.started)
        return response

    @app.teardown_request
    def leave(_: BaseException | None) -> None:
        if g.pop("counted", False):
            inside.dec()

    app.register_blueprint(_blueprint(registry, engine))


def _blueprint(registry: CollectorRegistry, engine: Engine) -> Blueprint:
    routes = Blueprint("metrics", __name__)

    @routes.get("/metrics")
    def metrics() -> Response:
        whole = CollectorRegistry()
        whole.register(_Whole(_values(registry), engine))
        return Response(generate_latest(whole), content_type=CONTENT_TYPE_LATEST)

    return routes


def _values(registry: CollectorRegistry) -> Collector:
    """Return what collects the values of all workers."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        collector: Collector = MultiProcessCollector(None)
        return collector
    return registry


class _Whole(Collector):
    """The values that were counted, and those that are computed when somebody asks."""

    def __init__(self, values: Collector, engine: Engine) -> None:
        self._values = values
        self._model = engine.model

    def collect(self) -> Iterator[Metric]:
        recent: Metric | None = None
        for family in self._values.collect():
            if family.name == RECENT:
                recent = family
            else:
                yield family
        card, sha256 = self._model.card, self._model.sha256
        info = GaugeMetricFamily(
            "kidney_model_info",
            "The model that answers; always 1.",
            labels=["sha256", "run", "code", "created", "precision"],
        )
        info.add_metric([sha256, card.run, card.code, card.created, card.precision], 1)
        yield info
        yield from drift_families(self._model, recent)
