"""What the model says, as members of the API's answer."""

import base64
from collections.abc import Sequence

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from kidney.artifact.card import ModelCard
from kidney.artifact.decision import Decision, decide
from kidney.artifact.overlay import evidence_overlay, png_bytes, within
from kidney.artifact.predictor import Answer
from kidney.artifact.series import read_series
from kidney.imaging.windows import MIN_HU
from kidney.serving import schemas
from kidney.serving.inference.engine import Reading, Served
from kidney.serving.inference.read_series import Slice, Study
from kidney.serving.schemas import PredictionsQuery

OVERLAY_SIDE = 1024  # pixels; larger slices are shrunk for their overlay
_DIGITS = 4  # of evidence behind the point: a logit moves by tenths


def answer(
    studies: Sequence[Study], reading: Reading, asked: PredictionsQuery
) -> schemas.Predictions:
    """Return the answer for studies whose slices were read in their order."""
    card = reading.model.card
    predictions: list[schemas.Prediction] = []
    results: list[schemas.Study] = []
    for place, study in enumerate(studies):
        first = len(predictions)
        answers = reading.answers[first : first + len(study.slices)]
        decisions = [
            decide(one.probabilities, card.classes, card.rules, one.ood_score) for one in answers
        ]
        predictions += [
            _prediction(place, *one, card, asked)
            for one in zip(study.slices, answers, decisions, strict=True)
        ]
        results.append(_result(study, first, answers, decisions, card))
    return schemas.Predictions(
        model=model_name(reading.model),
        predictions=predictions,
        studies=results,
        notice=schemas.NOTICE,
    )


def model_name(model: Served) -> schemas.ModelName:
    """Return which model it is."""
    card = model.card
    return schemas.ModelName(
        run=card.run,
        code=card.code,
        created=card.created,
        precision=card.precision,
        sha256=model.sha256,
    )


def evidence_summary(
    evidence: NDArray[np.float32], region: Sequence[float]
) -> schemas.ClassEvidence:
    """Say of one class how much its evidence weighs, where it is strongest and how focal it is.

    Args:
        evidence: (h, w), so that the logit of the class is evidence.mean() + bias.
        region: top, left, bottom, right in pixels of the slice that the map covers.
    """
    top, left, bottom, right = region
    height, width = evidence.shape
    row, column = divmod(int(evidence.argmax()), width)
    strongest = float(evidence[row, column])
    positive = np.maximum(evidence, 0)
    around = positive[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
    speaks = strongest > 0
    return schemas.ClassEvidence(
        mean=_rounded(evidence.mean()),
        strongest=_rounded(strongest),
        peak=(
            _rounded(top + (row + 0.5) / height * (bottom - top)),
            _rounded(left + (column + 0.5) / width * (right - left)),
        )
        if speaks
        else None,
        share=_rounded(around.sum() / positive.sum()) if speaks else 0.0,
    )


def overlay_url(
    slice_: NDArray[np.uint8], answer: Answer, decision: Decision, card: ModelCard
) -> str:
    """Return a data URL of the slice (H, W) with the evidence for the decision's label on it.

    Full colour is the strongest evidence for any class on this slice. A slice with a side above
    1024 pixels is shrunk.
    """
    evidence_map = answer.evidence[card.classes.index(decision.label)]
    strongest = float(answer.evidence.max())
    painted = evidence_overlay(slice_, evidence_map, strongest, region=answer.region)
    return png_url(within(painted, OVERLAY_SIDE))


def png_url(picture: NDArray[np.uint8]) -> str:
    """Return a data URL with a grey (H, W) or RGB (H, W, 3) picture."""
    return _data_url(png_bytes(picture))


def hounsfield_url(hu: NDArray[np.int16]) -> str:
    """Return a data URL of a PNG in colour that holds HU (H, W) without loss.

    A browser reads pictures with 8 bits a colour: 256 * red + green = HU + 1024, blue is 0.
    """
    above = (hu.astype(np.int32) - MIN_HU).astype(np.uint16)
    colours = np.zeros((*hu.shape, 3), dtype=np.uint8)
    colours[..., 0] = above >> 8
    colours[..., 1] = above & 255
    # Run lengths only: half the time of the default, and the files of a CT are no larger.
    return _data_url(imagecodecs.png_encode(colours, level=1, strategy=3))


def _prediction(
    study: int,
    slice_: Slice,
    answer: Answer,
    decision: Decision,
    card: ModelCard,
    asked: PredictionsQuery,
) -> schemas.Prediction:
    height, width = slice_.grey.shape
    region = answer.region or (0.0, 0.0, float(height), float(width))
    prediction = schemas.Prediction(
        file=slice_.file,
        frame=slice_.frame,
        study=study,
        decision=decision.outcome,
        label=decision.label,
        probabilities=dict(zip(card.classes, answer.probabilities.tolist(), strict=True)),
        set=list(decision.prediction_set),
        suspected=list(decision.suspected),
        ood_score=answer.ood_score,
        size=(height, width),
        evidence={
            name: evidence_summary(evidence, region)
            for name, evidence in zip(card.classes, answer.evidence, strict=True)
        },
    )
    if asked.evidence:
        maps = np.round(answer.evidence.astype(np.float64), _DIGITS)
        prediction.evidence_maps = schemas.EvidenceMaps(
            strongest=float(maps.max()),
            region=(region[0], region[1], region[2], region[3]),
            maps=dict(zip(card.classes, maps.tolist(), strict=True)),
        )
    if asked.pixels and slice_.hu is not None:
        prediction.hounsfield = hounsfield_url(slice_.hu)
    if asked.overlay:
        prediction.overlay = overlay_url(slice_.grey, answer, decision, card)
    return prediction


def _result(
    study: Study,
    first: int,
    answers: Sequence[Answer],
    decisions: Sequence[Decision],
    card: ModelCard,
) -> schemas.Study:
    probabilities = np.stack([one.probabilities for one in answers])
    said = read_series(
        probabilities, decisions, card.classes, card.rules, in_order=study.kind == "dicom"
    )
    window = study.window
    return schemas.Study(
        kind=study.kind,
        slices=list(range(first, first + len(answers))),
        probabilities=dict(zip(card.classes, said.probabilities.tolist(), strict=True)),
        label=said.label,
        decision=said.outcome,
        decisive=[first + place for place in said.decisive],
        counts=said.counts,
        suspected=said.suspected,
        skipped=[schemas.Skipped(**one._asdict()) for one in study.skipped],
        view=study.view,
        slice_mm=study.slice_mm,
        contrast=study.contrast,
        window=(window.center, window.width) if window else None,
    )


def _rounded(value: float) -> float:
    return round(float(value), _DIGITS)


def _data_url(png: bytes | bytearray) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
