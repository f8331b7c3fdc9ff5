"""What Prometheus reads at /metrics: requests, predictions, the model, and input drift.

Each worker keeps its values in files that the others read (`kidney.serving.process.run` makes their
folder), so any of them answers for all. In one process, as in tests, they are in memory.
"""

import os
import time
from collections import Counter as Tally
from collections.abc import Iterator, Sequence

from flask import Blueprint, Flask, Response, g, has_request_context, request
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

from kidney.artifact.predictor import Prediction
from kidney.serving.inference.engine import Engine, OnPredict, Served, Slices
from kidney.serving.monitoring.drift import RECENT, RecentInputs, drift_families
from kidney.serving.monitoring.logs import METHODS, route

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_CONFIDENCE = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1)
_RATIOS = (0.25, 0.5, 0.7, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2, 4)
_REFUSALS = (429, 503, 504)
_NOT_BY_USERS = ("/healthz", "/readyz", "/metrics")


def observer(registry: CollectorRegistry, recent: RecentInputs) -> OnPredict:
    """Return a function that counts the slices of a request by what was predicted.

    It runs in the thread of the request and leaves in `g.predicted` what the log writes.
    Predictions outside of requests, as to warm up, are not counted.
    """
    total = Counter("kidney_slices", "Slices that were read.", registry=registry)
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
    ood_ratio = Histogram(
        "kidney_ood_ratio",
        "OOD score of a slice by the card's limit; above 1 it is not a kidney CT.",
        buckets=_RATIOS,
        registry=registry,
    )

    def observe(model: Served, slices: Slices, predictions: Sequence[Prediction]) -> None:
        if not has_request_context():
            return
        limit = model.card.rules.ood_above
        outcomes = Tally(one.decision.outcome for one in predictions)
        for prediction in predictions:
            labels.labels(prediction.decision.label).inc()
            confidence.observe(prediction.decision.probability)
            if limit and prediction.ood_score is not None:
                ood_ratio.observe(prediction.ood_score / limit)
        total.inc(len(slices))
        for outcome, count in outcomes.items():
            decisions.labels(outcome).inc(count)
        g.predicted = {"slices": len(slices), "decisions": dict(outcomes)}
        recent.observe(model, slices)

    return observe


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
        "Requests that were refused: 429 too many of one key, 503 and 504 too busy.",
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
    in_flight = Gauge(
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
        in_flight.inc()
        g.counted = True

    @app.after_request
    def finish(response: Response) -> Response:
        method = request.method if request.method in METHODS else "other"
        answered.labels(route(), method, str(response.status_code)).inc()
        if response.status_code in _REFUSALS and request.path not in _NOT_BY_USERS:
            refused.labels(str(response.status_code)).inc()
        seconds.labels(route()).observe(time.perf_counter() - g.started)
        return response

    @app.teardown_request
    def leave(_: BaseException | None) -> None:
        if g.pop("counted", False):
            in_flight.dec()

    app.register_blueprint(_blueprint(registry, engine))


def _blueprint(registry: CollectorRegistry, engine: Engine) -> Blueprint:
    routes = Blueprint("metrics", __name__)

    @routes.get("/metrics")
    def metrics() -> Response:
        scrape = CollectorRegistry()
        scrape.register(_Scrape(_values(registry), engine))
        return Response(generate_latest(scrape), content_type=CONTENT_TYPE_LATEST)

    return routes


def _values(registry: CollectorRegistry) -> Collector:
    """Return the collector of the values of all workers."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        collector: Collector = MultiProcessCollector(None)
        return collector
    return registry


class _Scrape(Collector):
    """The values that were counted, and those that are computed for each scrape."""

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
