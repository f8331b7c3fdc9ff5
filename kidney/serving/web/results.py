"""A result as the page shows it without a script: words, pictures and numbers of each study."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kidney.artifact.card import ModelCard
from kidney.artifact.decision import decide
from kidney.artifact.overlay import within
from kidney.artifact.predictor import Answer
from kidney.serving.inference.answers import OVERLAY_SIDE, answer, overlay_url, png_url
from kidney.serving.inference.engine import Reading
from kidney.serving.inference.read_series import Slice, Study
from kidney.serving.schemas import Prediction, PredictionsQuery
from kidney.serving.web.words import Words, percent, slice_words, study_words

_PICTURED = 3  # slices of a study: those that decide, or the first


class Bar(NamedTuple):
    """One line of the table: a class, its probability, 0 to 1, and that for people."""

    label: str
    probability: float
    text: str


@dataclass(frozen=True)
class ShownSlice:
    """A slice with its pictures.

    Attributes:
        title: which one it is.
        words: what is said of it.
        label: what its evidence is for.
        picture: data URL of the slice.
        overlay: data URL of the slice with the evidence for the label.
        has_evidence: whether any place speaks for the label.
    """

    title: str
    words: Words
    label: str
    picture: str
    overlay: str
    has_evidence: bool


@dataclass(frozen=True)
class ShownStudy:
    """A study.

    Attributes:
        words: what is said of it.
        bars: its probabilities, the highest first.
        slices: those with pictures.
        rows: of all slices where there are several: title, the most probable class with its
            probability, and the findings that cannot be excluded.
    """

    words: Words
    bars: list[Bar]
    slices: list[ShownSlice]
    rows: list[tuple[str, str, str]]


def shown_studies(studies: Sequence[Study], reading: Reading) -> list[ShownStudy]:
    """Return what the page shows of studies whose slices were read in their order."""
    card = reading.model.card
    said = answer(studies, reading, PredictionsQuery())
    shown = []
    for study, result in zip(studies, said.studies, strict=True):
        predictions = [said.predictions[place] for place in result.slices]
        count = len(predictions)
        pictured = sorted(result.decisive[:_PICTURED]) or result.slices[:_PICTURED]
        bars = [Bar(card.names[name], p, percent(p)) for name, p in result.probabilities.items()]
        shown.append(
            ShownStudy(
                words=study_words(result, predictions, card),
                bars=sorted(bars, key=lambda bar: -bar.probability),
                slices=[
                    _slice(
                        _title(place - result.slices[0], count),
                        study.slices[place - result.slices[0]],
                        said.predictions[place],
                        reading.answers[place],
                        card,
                    )
                    for place in pictured
                ],
                rows=[_row(_title(at, count), one, card) for at, one in enumerate(predictions)]
                if count > 1
                else [],
            )
        )
    return shown


def _slice(
    title: str, slice_: Slice, prediction: Prediction, answer: Answer, card: ModelCard
) -> ShownSlice:
    decision = decide(answer.probabilities, card.classes, card.rules, answer.ood_score)
    evidence = answer.evidence[card.classes.index(decision.label)]
    return ShownSlice(
        title=title,
        words=slice_words(prediction, card),
        label=card.names[decision.label],
        picture=png_url(within(slice_.grey, OVERLAY_SIDE)),
        overlay=overlay_url(slice_.grey, answer, decision, card),
        has_evidence=bool(evidence.max() > 0),
    )


def _title(position: int, count: int) -> str:
    return "The slice" if count == 1 else f"Slice {position + 1} of {count}"


def _row(title: str, prediction: Prediction, card: ModelCard) -> tuple[str, str, str]:
    words = slice_words(prediction, card)
    if words["foreign"]:
        return title, "not a kidney CT", ""
    return title, f"{words['label']}, {words['probability']}", str(words["suspected"])
