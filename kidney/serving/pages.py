"""The pages for people: send one slice, read the result."""

from collections.abc import Iterable
from dataclasses import dataclass

from flask import Blueprint, render_template

from kidney.decision import NEEDS_REVIEW, NOT_A_KIDNEY_CT, decide, findings
from kidney.imaging.pictures import decode_picture
from kidney.overlay import RAMP, within
from kidney.serving.answers import OVERLAY_SIDE, overlay_url, png_url
from kidney.serving.engine import Engine
from kidney.serving.settings import Settings
from kidney.serving.uploads import uploaded_files


@dataclass(frozen=True)
class Bar:
    """One line of the chart.

    Attributes:
        label: what the class is called for people.
        probability: 0 to 1.
        text: the probability for people.
    """

    label: str
    probability: float
    text: str


def blueprint(engine: Engine, settings: Settings) -> Blueprint:
    """Return the page at /."""
    routes = Blueprint("pages", __name__)

    @routes.app_context_processor
    def common() -> dict[str, object]:
        return {"card": engine.model.card, "percent": percent}

    @routes.get("/")
    def upload() -> str:
        return render_template("upload.html")

    @routes.post("/")
    def result() -> str:
        (data,) = uploaded_files(most=1)
        slice_ = decode_picture(data, "the picture", settings.max_pixels)
        reading = engine.read([slice_])
        card, (answer,) = reading.model.card, reading.answers
        decision = decide(answer.probabilities, card.classes, card.rules, answer.ood_score)
        pairs = zip(card.classes, answer.probabilities.tolist(), strict=True)
        bars = [Bar(card.names[label], value, percent(value)) for label, value in pairs]

        def named(classes: Iterable[str]) -> list[str]:
            return [card.names[name] for name in classes]

        return render_template(
            "result.html",
            card=card,
            decision=decision,
            label=card.names[decision.label],
            suspected=named(decision.suspected),
            prediction_set=named(decision.prediction_set),
            foreign=decision.outcome == NOT_A_KIDNEY_CT,
            unsure=decision.outcome == NEEDS_REVIEW,
            not_suspected=named(
                name for name in findings(card.classes) if name not in decision.suspected
            ),
            bars=sorted(bars, key=lambda bar: -bar.probability),
            slice_url=png_url(within(slice_, OVERLAY_SIDE)),
            overlay_url=overlay_url(slice_, answer, decision, card),
            has_evidence=answer.evidence[card.classes.index(decision.label)].max() > 0,
            ramp=RAMP,
        )

    return routes


def percent(probability: float) -> str:
    """Return a probability, 0 to 1, as whole percent that never claims certainty."""
    if probability < 0.01:
        return "under 1 %"
    if probability > 0.99:
        return "over 99 %"
    return f"{probability:.0%}".replace("%", " %")
