"""What the page says of a slice or a study: the values that templates/words.html puts into words.

Its sentences stand in the template once. Here they get their values, from the answer of the API; in
the browser static/js/words.js gives them the same ones.
"""

from collections.abc import Iterable, Mapping, Sequence

from markupsafe import Markup

from kidney.artifact.card import ModelCard
from kidney.artifact.decision import NEEDS_REVIEW, NOT_A_KIDNEY_CT, findings
from kidney.serving.schemas import Prediction, Skipped, Study

Words = Mapping[str, str | bool]
_SKIPPED_SHOWN = 3


class Slots(dict[str, str | bool]):
    """Words whose every value is an empty place with its name, for a script to fill."""

    def __missing__(self, name: str) -> Markup:
        return Markup('<span data-slot="{}"></span>').format(name)


SLOTS = Slots(slots=True)


def percent(probability: float) -> str:
    """Return a probability, 0 to 1, as whole percent that never claims certainty."""
    if probability < 0.01:
        return "under 1 %"
    if probability > 0.99:
        return "over 99 %"
    return f"{probability:.0%}".replace("%", " %")


def slice_words(prediction: Prediction | Study, card: ModelCard) -> Words:
    """Return the values for one slice, or what is said alike of a study."""
    foreign = prediction.decision == NOT_A_KIDNEY_CT
    unsure = prediction.decision == NEEDS_REVIEW
    review_below = card.rules.review_below
    possible = [] if foreign or isinstance(prediction, Study) else prediction.set
    suspected = [name for name in prediction.suspected if not foreign]
    rest = [name for name in findings(card.classes) if name not in suspected and not foreign]
    return {
        "foreign": foreign,
        "unsure": unsure,
        "sure": not (foreign or unsure),
        "label": card.names[prediction.label],
        "probability": percent(prediction.probabilities[prediction.label]),
        "scope": "this slice",
        "none_stand": unsure and review_below > 1,
        "below": percent(review_below) if unsure and review_below <= 1 else "",
        "suspected": _named(suspected, card),
        "not_suspected": _named(rest, card),
        "apart": _named(possible, card) if len(possible) > 1 else "",
        "alone": len(possible) == 1,
        "one": True,
    }


def study_words(study: Study, predictions: Sequence[Prediction], card: ModelCard) -> Words:
    """Return the values for a study; `predictions` are those of its slices."""
    total = len(predictions)
    skipped = _skipped_words(study.skipped)
    if total == 1:
        return {**slice_words(predictions[0], card), "skipped": skipped}
    alone = slice_words(study, card)
    foreign = bool(alone["foreign"])
    left_out, unsure = study.counts[NOT_A_KIDNEY_CT], study.counts[NEEDS_REVIEW]
    seen = [
        f"{card.names[name]} ({on} of {total} slices)" for name, on in study.suspected.items() if on
    ]
    rest = [card.names[name] for name, on in study.suspected.items() if not on]
    return {
        **alone,
        "foreign": False,
        "foreign_study": foreign,
        "count": f"{total} slices",
        "scope": f"these {total} slices",
        "suspected": "" if foreign else ", ".join(seen),
        "not_suspected": "" if foreign else ", ".join(rest),
        "some_foreign": f"{left_out} of {total} slices" if left_out and not foreign else "",
        "some_unsure": f"{unsure} of {total} slices" if unsure and not alone["unsure"] else "",
        "one": False,
        "many": True,
        "pictures": study.kind == "pictures",
        "skipped": skipped,
    }


def _skipped_words(skipped: Sequence[Skipped]) -> str:
    if not skipped:
        return ""
    shown = "; ".join(one.reason for one in skipped[:_SKIPPED_SHOWN])
    more = len(skipped) - _SKIPPED_SHOWN
    return f"{shown}; and {more} more." if more > 0 else f"{shown}."


def _named(classes: Iterable[str], card: ModelCard) -> str:
    return ", ".join(card.names[name] for name in classes)
