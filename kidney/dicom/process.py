"""The process: query, wait until a series is complete, fetch, ask, build, store, look again.

Nothing but the report's presence in the archive counts as done. Its UID follows from the slices and
the model, so that whoever is killed and begins again, or works beside another, stores the same.
"""

import datetime
import logging
import threading
import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from pydicom.uid import UID

from kidney.dicom.answer import Answer, Server, decision_of, decisive_slices, shown_regions
from kidney.dicom.archive import Archive, FinalError, TransientError
from kidney.dicom.settings import Settings
from kidney.dicom.sources import NO_SLICES, Source, derived_uid, read_sources, report_uid
from kidney.dicom.state import (
    DONE,
    FAILED,
    SKIPPED,
    STATES,
    SeriesState,
    State,
    is_uid,
    short_uid,
)
from kidney.imaging.dicom_header import CT_CLASSES

_log = logging.getLogger("kidney.dicom")
_SECONDS = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300)
Reached = Callable[[str], None]  # called with the name of each step that was done


class Metrics:
    """What Prometheus reads; it holds counts and kinds, nothing of a patient."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.series = Gauge("kidney_dicom_series", "Series by state.", ["state"], registry=registry)
        self.results = Counter(
            "kidney_dicom_results", "Series whose report was stored, by decision.", ["decision"],
            registry=registry,
        )  # fmt: skip
        self.errors = Counter(
            "kidney_dicom_errors", "Failed attempts and queries by kind.", ["kind"],
            registry=registry,
        )  # fmt: skip
        self.seconds = Histogram(
            "kidney_dicom_seconds", "How long a series took from its fetch to its report.",
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.last_query = Gauge(
            "kidney_dicom_last_query_timestamp_seconds",
            "When the archive was last asked with success; seconds since 1970.",
            registry=registry,
        )
        for state in STATES:
            self.series.labels(state).set(0)


class Process:
    """Everything that one running process holds.

    Args:
        settings: of the process.
        registry: where its metrics are counted.
        reached: see `Reached`; for tests.
    """

    def __init__(
        self,
        settings: Settings,
        registry: CollectorRegistry,
        reached: Reached = lambda _: None,
    ) -> None:
        self._settings = settings
        self._archive = Archive(settings)
        self._server = Server(settings)
        self._state = State(settings.state)
        self._metrics = Metrics(registry)
        self._reached = reached
        self.stop = threading.Event()

    def run(self) -> None:
        """Work until `stop` is set; a series that has begun is finished first."""
        _log.info("started")
        while not self.stop.is_set():
            self.once()
            self.stop.wait(self._settings.poll_seconds)
        self._state.close()
        _log.info("stopped")

    def once(self) -> None:
        """Query the archive, then answer each series that is due."""
        try:
            self._query()
            self._metrics.last_query.set_to_current_time()
        except (TransientError, FinalError) as error:
            self._metrics.errors.labels(error.args[0]).inc()
            _log.warning("query failed: %s", error.args[0])
        for series in self._state.due():
            if self.stop.is_set():
                break
            self._work(series)
        for state, count in self._state.counts().items():
            self._metrics.series.labels(state).set(count)

    def _query(self) -> None:
        found = list(self._archive.ct_series(datetime.datetime.now().date()))
        # What is no UID could hold a name; and without a UID a series has no address.
        known = [
            (one.series, one.study, one.slices)
            if is_uid(one.study) and is_uid(one.series)
            else (short_uid(one.series), "", one.slices)
            for one in found
        ]
        self._state.note_counts(known, self._settings.stable_seconds)

    def _work(self, series: SeriesState) -> None:
        began = time.monotonic()
        fields: dict[str, object] = {"series": series.uid, "slices": series.slices}
        try:
            decision, result = self._answer(series)
        except TransientError as error:
            kind = error.args[0]
            pause = self._settings.retry_seconds * 2.0 ** min(series.attempts, 32)
            self._state.postpone(series, kind, min(pause, self._settings.retry_limit_seconds))
            self._failed("postponed", kind, fields)
        except FinalError as error:
            kind = error.args[0]
            self._state.finish(series, SKIPPED if kind in NO_SLICES else FAILED, kind)
            self._failed("not answered", kind, fields)
        except Exception as error:  # its message may quote the files
            kind = f"internal-{type(error).__name__}"
            self._state.finish(series, FAILED, kind)
            self._failed("not answered", kind, fields, error)
        else:
            self._state.finish(series, DONE, result=result)
            if decision:
                self._metrics.results.labels(decision).inc()
                self._metrics.seconds.observe(time.monotonic() - began)
            _log.info("answered", extra={"fields": fields | {"decision": decision or "before"}})

    def _failed(
        self, what: str, kind: str, fields: dict[str, object], error: Exception | None = None
    ) -> None:
        self._metrics.errors.labels(kind).inc()
        # The log tells where an error was raised, not its message.
        _log.warning(what, extra={"fields": fields | {"kind": kind}}, exc_info=error)

    def _answer(self, series: SeriesState) -> tuple[str, UID]:
        """Return decision and report of a series; no decision where the report was there before."""
        if not series.study:
            raise FinalError("uid")
        if series.slices > self._settings.max_slices:
            raise FinalError("too-many-slices")
        reports = derived_uid("reports", series.uid)
        there = [one.uid for one in self._archive.instances(series.study, reports)]
        listed = self._archive.instances(series.study, series.uid)
        slices = [one.uid for one in listed if one.sop_class in CT_CLASSES]
        if slices and report_uid(slices, sha256 := self._server.model_sha256()) in there:
            return "", report_uid(slices, sha256)
        sources = read_sources(self._archive.fetch(series.study, series.uid))
        self._reached("fetched")
        answer = self._server.predict([one.data for one in sources])
        self._reached("answered")
        # Of what was fetched: slices may have come since they were listed.
        uid = report_uid([one.uid for one in sources], answer.model.sha256)
        if uid in there:
            return "", uid
        self._store(series, sources, answer, uid, there)
        return decision_of(answer), uid

    def _store(
        self,
        series: SeriesState,
        sources: list[Source],
        answer: Answer,
        uid: UID,
        there: list[str],
    ) -> None:
        # highdicom takes 0.3 s to import.
        from kidney.dicom.pictures import build_captures, build_segmentation
        from kidney.dicom.report import build_report

        indices = decisive_slices(answer)
        files = [sources[answer.predictions[at].file - 1].data for at in indices]
        details = self._server.predict(files, shown=True)
        if details.model.sha256 != answer.model.sha256:
            raise TransientError("server-model-changed")
        shown = shown_regions(answer, details, indices)
        previous = series.result if series.result in there else (there[-1] if there else None)
        reports = derived_uid("reports", series.uid)
        report = build_report(
            sources, answer, shown, uid, reports, len(there) + 1, previous
        )  # fmt: skip
        beside = build_captures(sources, answer, shown, uid) if self._settings.captures else []
        if self._settings.segmentation:
            segmentation = build_segmentation(sources, shown, answer, uid)
            beside += [segmentation] if segmentation else []
        self._reached("built")
        if beside:
            self._archive.store(series.study, beside)
            self._reached("stored beside")
        # The report comes last: where it is, everything is.
        self._archive.store(series.study, [report])
        self._reached("stored")
        if uid not in {one.uid for one in self._archive.instances(series.study, reports)}:
            raise TransientError("archive-store-missing")
