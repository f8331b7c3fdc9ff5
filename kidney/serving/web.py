"""The page for people, without a script: send slices, read the result; and the files of the app.

With a script the page sends files to the API and shows the response itself (static/js); without one
its form comes here. The sentences of a result stand once, in templates/words.html: here they get
their values from the response, in the browser static/js/words.js gives them the same ones.
"""

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from flask import Blueprint, Response, current_app, render_template, request
from markupsafe import Markup

from kidney.artifact.card import ModelCard
from kidney.artifact.decision import NEEDS_REVIEW, NOT_A_KIDNEY_CT, findings
from kidney.artifact.overlay import RAMP, within
from kidney.artifact.predictor import Prediction
from kidney.imaging.windows import WINDOWS
from kidney.serving.inference.decode import Series, Slice, decode, uploaded_files
from kidney.serving.inference.encode import OVERLAY_SIDE, encode, overlay_url, png_url
from kidney.serving.inference.engine import Engine, Served
from kidney.serving.schemas import (
    FIELD,
    PredictionsQuery,
    SeriesPrediction,
    Skipped,
    SlicePrediction,
)
from kidney.serving.settings import Settings

Words = Mapping[str, str | bool]
_PICTURED = 3  # slices of a series: those that decide, or the first
_SKIPPED_SHOWN = 3


class Slots(dict[str, str | bool]):
    """Words whose every value is an empty element with its name, for a script to fill."""

    def __missing__(self, name: str) -> Markup:
        return Markup('<span data-slot="{}"></span>').format(name)


SLOTS = Slots(slots=True)


@dataclass(frozen=True)
class SliceView:
    """A slice with its pictures.

    Attributes:
        title: which one it is.
        words: values of its sentences.
        label: the class whose evidence is shown.
        picture: data URL of the slice.
        overlay: data URL of the slice with the evidence for the label.
        has_evidence: whether any of that evidence is positive.
    """

    title: str
    words: Words
    label: str
    picture: str
    overlay: str
    has_evidence: bool


@dataclass(frozen=True)
class SeriesView:
    """A series.

    Attributes:
        words: values of its sentences.
        bars: class, probability, 0 to 1, and that for people; the most probable first.
        slices: those with pictures.
        rows: of all slices where there are several: title, the most probable class with its
            probability, and the findings that cannot be excluded.
    """

    words: Words
    bars: list[tuple[str, float, str]]
    slices: list[SliceView]
    rows: list[tuple[str, str, str]]


def blueprint(engine: Engine, settings: Settings) -> Blueprint:
    """Return the page at /, and the manifest and the service worker beside it."""
    routes = Blueprint("pages", __name__)

    @routes.app_context_processor
    def common() -> dict[str, object]:
        return {
            "card": engine.model.card,
            "percent": percent,
            "ramp": RAMP,
            "slots": SLOTS,
            "feedback": settings.feedback_file is not None,
            "history": settings.feedback_file is not None and settings.history_days > 0,
        }

    @routes.get("/")
    def upload() -> str:
        # Pairs: JSON objects have no order, and the presets have one.
        windows = [(name, (window.center, window.width)) for name, window in WINDOWS.items()]
        return render_template("upload.html", windows=windows)

    @routes.post("/")
    def result() -> str:
        model = engine.model
        uploads = uploaded_files(request.files.getlist(FIELD), settings.max_files)
        series = decode(uploads, settings, model.card.window.window)
        predictions = engine.predict(model, [one.grey for part in series for one in part.slices])
        return render_template(
            "result.html",
            card=model.card,
            sha256=model.sha256,
            time=datetime.datetime.now(datetime.UTC),
            series=series_views(model, series, predictions),
        )

    @routes.get("/manifest.webmanifest")
    def manifest() -> Response:
        response = current_app.send_static_file("manifest.webmanifest")
        response.mimetype = "application/manifest+json"
        return response

    @routes.get("/service-worker.js")
    def service_worker() -> Response:
        # From the root: a service worker controls what lies below its own address.
        return current_app.send_static_file("service-worker.js")

    return routes


def series_views(
    model: Served, series: Sequence[Series], predictions: Sequence[Prediction]
) -> list[SeriesView]:
    """Return what the page shows of series; `predictions` are of their slices, in order."""
    card = model.card
    response = encode(model, series, predictions, PredictionsQuery())
    return [
        _series_view(one, encoded, response.predictions, predictions, card)
        for one, encoded in zip(series, response.series, strict=True)
    ]


def _series_view(
    series: Series,
    encoded: SeriesPrediction,
    slices: Sequence[SlicePrediction],
    predictions: Sequence[Prediction],
    card: ModelCard,
) -> SeriesView:
    count, first = len(encoded.slices), encoded.slices[0]
    titles = [f"Slice {at + 1} of {count}" if count > 1 else "The slice" for at in range(count)]
    pictured = sorted(encoded.decisive[:_PICTURED]) or encoded.slices[:_PICTURED]
    own = [slices[at] for at in encoded.slices]
    bars = [(card.names[name], p, percent(p)) for name, p in encoded.probabilities.items()]
    return SeriesView(
        words=series_words(encoded, own, card),
        bars=sorted(bars, key=lambda bar: -bar[1]),
        slices=[
            _slice_view(
                titles[at - first],
                series.slices[at - first],
                slice_words(slices[at], card),
                predictions[at],
                card,
            )
            for at in pictured
        ],
        rows=[_row(*one, card) for one in zip(titles, own, strict=True)] if count > 1 else [],
    )


def _slice_view(
    title: str, slice_: Slice, words: Words, prediction: Prediction, card: ModelCard
) -> SliceView:
    label = prediction.decision.label
    return SliceView(
        title=title,
        words=words,
        label=card.names[label],
        picture=png_url(within(slice_.grey, OVERLAY_SIDE)),
        overlay=overlay_url(slice_.grey, prediction, card),
        has_evidence=bool(prediction.evidence[card.classes.index(label)].max() > 0),
    )


def _row(title: str, encoded: SlicePrediction, card: ModelCard) -> tuple[str, str, str]:
    words = slice_words(encoded, card)
    if words["foreign"]:
        return title, "not a kidney CT", ""
    return title, f"{words['label']}, {words['probability']}", str(words["suspected"])


def percent(probability: float) -> str:
    """Return a probability, 0 to 1, as whole percent that never claims certainty."""
    if probability < 0.01:
        return "under 1 %"
    if probability > 0.99:
        return "over 99 %"
    return f"{probability:.0%}".replace("%", " %")


def capitalised(text: str) -> str:
    """Return a text whose first letter is a capital."""
    return text[:1].upper() + text[1:]


def slice_words(encoded: SlicePrediction | SeriesPrediction, card: ModelCard) -> Words:
    """Return the values for one slice, or those that a series has in common with one."""
    foreign = encoded.decision == NOT_A_KIDNEY_CT
    unsure = encoded.decision == NEEDS_REVIEW
    review_below = card.rules.review_below
    possible = () if foreign or isinstance(encoded, SeriesPrediction) else encoded.set
    suspected = [name for name in encoded.suspected if not foreign]
    rest = [name for name in findings(card.classes) if name not in suspected and not foreign]
    return {
        "foreign": foreign,
        "unsure": unsure,
        "undecided": unsure,
        "found": "",
        "sure": not (foreign or unsure),
        "label": card.names[encoded.label],
        "probability": percent(encoded.probabilities[encoded.label]),
        "scope": "this slice",
        "none_stand": unsure and review_below > 1,
        "below": percent(review_below) if unsure and review_below <= 1 else "",
        "suspected": _named(suspected, card),
        "not_suspected": _named(rest, card),
        "apart": _named(possible, card) if len(possible) > 1 else "",
        "alone": len(possible) == 1,
        "one": True,
    }


def series_words(
    series: SeriesPrediction, slices: Sequence[SlicePrediction], card: ModelCard
) -> Words:
    """Return the values for a series and its slices."""
    total = len(slices)
    skipped, doubts = _skipped_words(series.skipped), "; ".join(series.doubts)
    if total == 1:
        return {**slice_words(slices[0], card), "skipped": skipped, "doubts": doubts}
    common = slice_words(series, card)
    foreign = bool(common["foreign"])
    left_out, unsure = series.counts[NOT_A_KIDNEY_CT], series.counts[NEEDS_REVIEW]
    seen = [
        f"{card.names[name]} ({on} of {total} slices)"
        for name, on in series.suspected.items()
        if on
    ]
    rest = [card.names[name] for name, count in series.suspected.items() if not count]
    found = ""
    if slices[0].findings is not None and not foreign:  # a model with maps knows where
        suspected = [one for one in series.findings if one.suspected]
        seen = [one.text for one in suspected]
        rest = [card.names[one.finding] for one in series.findings if not one.suspected]
        if common["unsure"]:
            found = capitalised(" and ".join(card.names[one.finding] for one in suspected))
    return {
        **common,
        "foreign": False,
        "foreign_series": foreign,
        "found": found,
        "undecided": common["unsure"] and not found,
        "below": "" if found else common["below"],
        "count": f"{total} slices",
        "scope": f"these {total} slices",
        "suspected": "" if foreign else "; ".join(seen),
        "not_suspected": "" if foreign else ", ".join(rest),
        "some_foreign": f"{left_out} of {total} slices" if left_out and not foreign else "",
        "some_unsure": f"{unsure} of {total} slices" if unsure and not common["unsure"] else "",
        "one": False,
        "many": True,
        "pictures": series.kind == "pictures",
        "skipped": skipped,
        "doubts": doubts,
    }


def _skipped_words(skipped: Sequence[Skipped]) -> str:
    if not skipped:
        return ""
    shown = "; ".join(one.reason for one in skipped[:_SKIPPED_SHOWN])
    more = len(skipped) - _SKIPPED_SHOWN
    return f"{shown}; and {more} more." if more > 0 else f"{shown}."


def _named(classes: Iterable[str], card: ModelCard) -> str:
    return ", ".join(card.names[name] for name in classes)
