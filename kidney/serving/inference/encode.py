"""Predictions to the members of the API's response."""

import base64
import io
import zlib
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kidney.artifact.card import ModelCard
from kidney.artifact.decision import findings
from kidney.artifact.overlay import evidence_overlay, png_bytes, within
from kidney.artifact.predictor import Prediction
from kidney.artifact.series import SeriesFinding, read_series
from kidney.artifact.sites import FINDINGS, extent, peak
from kidney.imaging.windows import MIN_HU
from kidney.serving import schemas
from kidney.serving.inference.decode import Series, Slice
from kidney.serving.inference.engine import Served

OVERLAY_SIDE = 1024  # pixels; larger slices are shrunk for their overlay
_DIGITS = 4  # of evidence behind the point: a logit moves by tenths


def encode(
    model: Served,
    series: Sequence[Series],
    predictions: Sequence[Prediction],
    query: schemas.PredictionsQuery,
) -> schemas.Response:
    """Return the response for series; `predictions` are of their slices, in order."""
    card = model.card
    response = schemas.Response(
        model=schemas.ModelName(
            run=card.run,
            code=card.code,
            created=card.created,
            precision=card.precision,
            sha256=model.sha256,
        ),
        predictions=[],
        series=[],
        notice=schemas.NOTICE,
    )
    for number, one in enumerate(series):
        first = len(response.predictions)
        of_series = predictions[first : first + len(one.slices)]
        response.predictions += [
            _slice(number, slice_, prediction, card, query)
            for slice_, prediction in zip(one.slices, of_series, strict=True)
        ]
        response.series.append(_series(one, first, of_series, card))
    return response


def evidence_summary(
    evidence: NDArray[np.float32], region: Sequence[float]
) -> schemas.ClassEvidence:
    """Summarise the evidence for one class: its weight, its peak and how focal it is.

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


def overlay_url(slice_: NDArray[np.uint8], prediction: Prediction, card: ModelCard) -> str:
    """Return a data URL of the slice (H, W) with the evidence for its label painted on it.

    Full colour is the strongest evidence for any class on this slice. A slice with a side above
    1024 pixels is shrunk.
    """
    evidence_map = prediction.evidence[card.classes.index(prediction.decision.label)]
    strongest = float(prediction.evidence.max())
    painted = evidence_overlay(slice_, evidence_map, strongest, region=prediction.region)
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
    buffer = io.BytesIO()
    # Run lengths only: half the time of the default, and the files of a CT are no larger.
    Image.fromarray(colours).save(buffer, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return _data_url(buffer.getvalue())


def _slice(
    series: int,
    slice_: Slice,
    prediction: Prediction,
    card: ModelCard,
    query: schemas.PredictionsQuery,
) -> schemas.SlicePrediction:
    height, width = slice_.grey.shape
    region = prediction.region or (0.0, 0.0, float(height), float(width))
    decision = prediction.decision
    encoded = schemas.SlicePrediction(
        file=slice_.file,
        frame=slice_.frame,
        series=series,
        decision=decision.outcome,
        label=decision.label,
        probabilities=dict(zip(card.classes, prediction.probabilities.tolist(), strict=True)),
        set=decision.prediction_set,
        suspected=decision.suspected,
        ood_score=prediction.ood_score,
        size=(height, width),
        evidence={
            name: evidence_summary(evidence, region)
            for name, evidence in zip(card.classes, prediction.evidence, strict=True)
        },
    )
    if prediction.findings is not None and prediction.lesions is not None:
        encoded.findings = {
            name: schemas.SliceFinding(probability=float(probability), peak=peak(map_, region))
            for name, probability, map_ in zip(
                FINDINGS, prediction.findings, prediction.lesions, strict=True
            )
        }
    if query.evidence:
        maps = np.round(prediction.evidence.astype(np.float64), _DIGITS)
        encoded.evidence_maps = schemas.EvidenceMaps(
            strongest=float(maps.max()),
            region=(region[0], region[1], region[2], region[3]),
            maps=dict(zip(card.classes, maps.tolist(), strict=True)),
        )
    if query.pixels and slice_.hu is not None:
        encoded.hounsfield = hounsfield_url(slice_.hu)
    if query.overlay:
        encoded.overlay = overlay_url(slice_.grey, prediction, card)
    return encoded


def _series(
    series: Series, first: int, predictions: Sequence[Prediction], card: ModelCard
) -> schemas.SeriesPrediction:
    """Encode what the slices make together; `first` is the index of the first of them."""
    probabilities = np.stack([one.probabilities for one in predictions])
    decisions = [one.decision for one in predictions]
    result = read_series(
        probabilities, decisions, card.classes, card.rules,
        in_order=series.kind == "dicom", shown=_shown(predictions, card.classes),
    )  # fmt: skip
    return schemas.SeriesPrediction(
        kind=series.kind,
        slices=list(range(first, first + len(predictions))),
        probabilities=dict(zip(card.classes, result.probabilities.tolist(), strict=True)),
        label=result.label,
        decision=result.outcome,
        decisive=[first + position for position in result.decisive],
        findings=[_finding(one, series, first, predictions, card) for one in result.findings],
        counts=result.counts,
        suspected=result.suspected,
        skipped=[schemas.Skipped(**one._asdict()) for one in series.skipped],
        plane=series.plane,
        slice_mm=series.slice_mm,
        contrast=series.contrast,
        window=(series.window.center, series.window.width) if series.window else None,
    )


def _finding(
    found: SeriesFinding,
    series: Series,
    first: int,
    predictions: Sequence[Prediction],
    card: ModelCard,
) -> schemas.SeriesFinding:
    own = [predictions[at] for at in found.slices]
    sides = [_side(found.name, one, series.left_first) for one in own]
    diameter = None
    if found.suspected and series.pixel_mm:
        extents = [
            extent(one.lesions[FINDINGS.index(found.name)], one.region) * series.pixel_mm
            for one, side in zip(own, sides, strict=True)
            if one.lesions is not None and one.region is not None and side == sides[0]
        ]
        diameter = max(extents, default=None)
    words = [card.names[found.name]]
    if sides[0]:
        words.append(f"{sides[0]} side")
    if found.first is not None and found.last is not None and len(predictions) > 1:
        ends = sorted({found.first + 1, found.last + 1})
        words.append(("slice " if len(ends) == 1 else "slices ") + " to ".join(map(str, ends)))
    elif len(predictions) > 1:
        words.append(f"most on slice {found.slices[0] + 1}")
    if diameter:
        words.append(f"about {diameter:.0f} mm across")
    return schemas.SeriesFinding(
        finding=found.name,
        suspected=found.suspected,
        probability=found.score,
        threshold=found.threshold,
        first=None if found.first is None else first + found.first,
        last=None if found.last is None else first + found.last,
        slices=[first + at for at in found.slices],
        side=sides[0],
        diameter_mm=None if diameter is None else round(diameter, 1),
        text=", ".join(words),
    )


def _side(
    finding: str, prediction: Prediction, left_first: bool | None
) -> Literal["left", "right"] | None:
    """Return the patient's side: that of the middle of the body on which the map peaks."""
    if left_first is None or prediction.region is None or prediction.lesions is None:
        return None
    _, left, _, right = prediction.region
    _, column = peak(prediction.lesions[FINDINGS.index(finding)], prediction.region)
    return "left" if (column < (left + right) / 2) == left_first else "right"


def _shown(predictions: Sequence[Prediction], classes: Sequence[str]) -> NDArray[np.float32] | None:
    """Return the probability of each finding on each slice (N, F); None: no such output."""
    names = findings(classes)
    if not set(names) <= set(FINDINGS):
        return None
    rows = [one.findings for one in predictions if one.findings is not None]
    if len(rows) < len(predictions):
        return None
    return np.stack(rows)[:, [FINDINGS.index(name) for name in names]]


def _rounded(value: float) -> float:
    return round(float(value), _DIGITS)


def _data_url(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
