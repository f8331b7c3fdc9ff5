"""What a series says, with side, slices and millimetres, of a model with maps of findings."""

from types import SimpleNamespace

import numpy as np
import pytest

from kidney.artifact.decision import Rules, decide
from kidney.artifact.predictor import Prediction
from kidney.artifact.sites import FINDINGS
from kidney.serving import schemas
from kidney.serving.inference.decode import Series, Slice
from kidney.serving.inference.encode import encode
from kidney.serving.web import series_words

CLASSES = ("normal", "cyst", "tumor", "stone")
RULES = Rules(
    2.0,
    dict.fromkeys(CLASSES[1:], 0.1),
    dict.fromkeys(CLASSES, 0.1),
    None,
    dict.fromkeys(CLASSES[1:], 0.7),
)
CARD = SimpleNamespace(
    classes=CLASSES, rules=RULES, run="r", code="c", created="t", precision="float32",
    names=dict(zip(CLASSES, ("normal kidney", "cyst", "tumour", "stone"), strict=True)),
)  # fmt: skip


def prediction(tumor: float, column: int) -> Prediction:
    probabilities = np.array([0.85, 0.05, 0.05, 0.05], np.float32)
    lesions = np.full((3, 20, 20), -9, np.float32)
    lesions[0, 8:12, column : column + 4] = 3
    return Prediction(
        probabilities, probabilities, np.zeros((4, 20, 20), np.float32), None, (0, 0, 200, 200),
        decide(probabilities, CLASSES, RULES), np.array([tumor, 0.1, 0.1], np.float32), lesions,
        1.0,
    )  # fmt: skip


def answer(kind: str, left_first: bool | None = None, pixel_mm: float | None = None):
    shown = [0.05] * 10 + [0.9, 0.95, 0.9] + [0.05] * 10
    series = Series(
        kind,
        [Slice(1, at + 1, np.zeros((200, 200), np.uint8)) for at in range(len(shown))],
        pixel_mm=pixel_mm,
        left_first=left_first,
    )
    predictions = [prediction(value, column=14) for value in shown]
    model = SimpleNamespace(card=CARD, sha256="0")
    return encode(model, [series], predictions, schemas.PredictionsQuery())


@pytest.mark.parametrize(("left_first", "side"), [(False, "left"), (True, "right")])
def test_a_finding_has_side_slices_and_length(left_first: bool, side: str):
    response = answer("dicom", left_first, 0.5)
    tumor, *others = sorted(response.series[0].findings, key=lambda one: -one.probability)
    assert (tumor.finding, tumor.suspected, tumor.side) == ("tumor", True, side)
    assert (tumor.first, tumor.last, tumor.slices[0]) == (10, 12, 11)
    assert tumor.diameter_mm == pytest.approx(0.5 * 10 * (3 * 2**0.5 + 1), rel=0.01)
    assert tumor.text == f"tumour, {side} side, slices 11 to 13, about 26 mm across"
    assert not any(one.suspected for one in others)
    assert response.series[0].decision == "needs_review"
    words = series_words(response.series[0], response.predictions, CARD)
    assert words["suspected"] == tumor.text
    assert words["not_suspected"] == "cyst, stone"
    assert (words["found"], words["undecided"]) == ("Tumour", False)


def test_pictures_have_neither_side_nor_millimetres():
    (series,) = answer("pictures").series
    tumor = next(one for one in series.findings if one.finding == "tumor")
    assert (tumor.side, tumor.diameter_mm, tumor.first) == (None, None, None)
    assert tumor.text == "tumour, most on slice 12"


def test_each_slice_says_where_a_finding_would_lie():
    found = answer("pictures").predictions[0].findings
    assert found is not None
    assert list(found) == list(FINDINGS)
    assert found["tumor"].peak == (85.0, 145.0)
