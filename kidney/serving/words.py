"""What the page says of a slice or a study: the values that templates/words.html puts into words.

Its sentences stand in the template once. Here they get their values; in the browser
static/js/words.js gives them the same ones, out of the answer of the API.
"""

from collections.abc import Iterable, Mapping

from markupsafe import Markup

from kidney.card import ModelCard
from kidney.decision import NEEDS_REVIEW, NOT_A_KIDNEY_CT, Decision, findings

Words = Mapping[str, str | bool]


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


def slice_words(decision: Decision, card: ModelCard) -> Words:
    """Return the values for one slice that stands alone."""
    foreign = decision.outcome == NOT_A_KIDNEY_CT
    unsure = decision.outcome == NEEDS_REVIEW
    several = len(decision.prediction_set) > 1
    rest = [name for name in findings(card.classes) if name not in decision.suspected]
    return {
        "foreign": foreign,
        "unsure": unsure,
        "sure": not (foreign or unsure),
        "label": card.names[decision.label],
        "probability": percent(decision.probability),
        "scope": "this slice",
        "none_stand": unsure and card.rules.review_below > 1,
        "below": percent(card.rules.review_below) if unsure and _reached(card) else "",
        "suspected": "" if foreign else _named(decision.suspected, card),
        "not_suspected": "" if foreign else _named(rest, card),
        "apart": _named(decision.prediction_set, card) if several and not foreign else "",
        "alone": not (several or foreign),
        "one": True,
    }


def study_words(
    decision: Decision, counts: Mapping[str, int], suspected: Mapping[str, int], card: ModelCard
) -> Words:
    """Return the values for the slices of one study together.

    Args:
        decision: about all of them.
        counts: outcome -> slices with it.
        suspected: finding -> slices on which it cannot be excluded.
        card: of the model that read them.
    """
    total = sum(counts.values())
    if total == 1:
        return slice_words(decision, card)
    alone = slice_words(decision, card)
    foreign, unsure = bool(alone["foreign"]), counts.get(NEEDS_REVIEW, 0)
    left_out = counts.get(NOT_A_KIDNEY_CT, 0)
    seen = [f"{card.names[name]} ({on} of {total} slices)" for name, on in suspected.items() if on]
    rest = [card.names[name] for name, on in suspected.items() if not on]
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
        "apart": "",
        "alone": False,
        "one": False,
        "many": True,
    }


def _reached(card: ModelCard) -> bool:
    return card.rules.review_below <= 1


def _named(classes: Iterable[str], card: ModelCard) -> str:
    return ", ".join(card.names[name] for name in classes)
