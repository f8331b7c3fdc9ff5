from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kidney.artifact.card import Benchmark, ConversionVerification
from kidney.artifact.decision import Decision
from kidney.artifact.predictor import Prediction, Predictor
from kidney.artifact.reader import read_artifact
from kidney.export import convert
from kidney.export.build import converted_path, metrics_of
from kidney.export.convert import Agreement, agreement, convert_artifact, peaks_kept
from kidney.files import sha256
from tests.helpers.small_network import random_slices

SLICES = list(random_slices(12, 64, 70)[:, 0].numpy())
LABELS = np.arange(12) % 4
FIGURES = {
    "split": {"name": "by_patient", "fold": 0, "folds": 3, "part": "test"},
    "slices": 12,
    "scans": 3,
    "figures": {},
}


def figures_of(predictions: list[Prediction]) -> dict[str, Any]:
    assert len(predictions) == 12
    return FIGURES


@pytest.fixture
def original(file: Path, tmp_path: Path) -> Path:
    path = tmp_path / "kidney.onnx"
    path.write_bytes(file.read_bytes())
    return path


@pytest.fixture
def lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On noise and random weights a small network says what it likes."""
    monkeypatch.setattr("kidney.export.convert.MAX_AUROC_LOST", 1.0)
    monkeypatch.setattr("kidney.export.convert.LEAST_PEAKS_KEPT", 0.0)


@pytest.mark.parametrize(("precision", "smaller"), [("int8", 0.35), ("float16", 0.6)])
@pytest.mark.usefixtures("lenient")
def test_a_converted_file_is_a_smaller_one_with_a_card_of_its_own(
    original: Path, precision: str, smaller: float
):
    said = convert_artifact(original, precision, SLICES, SLICES, LABELS, figures_of)
    path = converted_path(original, precision)
    assert path.name == f"kidney.{precision}.onnx"
    assert str(path) in said
    assert "times as fast" in said
    assert path.stat().st_size < smaller * original.stat().st_size
    ours, theirs = (Predictor(place).predict(SLICES) for place in (original, path))
    gap = max(
        np.abs(a.probabilities - b.probabilities).max() for a, b in zip(ours, theirs, strict=True)
    )
    assert 0 < gap < 0.2
    card, before = read_artifact(path)[1], read_artifact(original)[1]
    assert (card.precision, card.made_from) == (precision, sha256(original))
    assert card.metrics == metrics_of(FIGURES)
    assert isinstance(card.verification, ConversionVerification)
    assert card.verification.largest_change == pytest.approx(gap)
    assert isinstance(card.benchmark, Benchmark)
    assert card.benchmark.speed > 0
    for field in ("classes", "bias", "temperature", "rules", "run", "code", "data"):
        assert getattr(card, field) == getattr(before, field)
    # What it answers still is the sum of its evidence.
    for answer in theirs:
        sums = answer.evidence.mean(axis=(1, 2)) + np.array(card.bias)
        np.testing.assert_allclose(sums, answer.logits, atol=1e-4)


def test_a_file_that_misses_a_limit_is_refused_and_says_by_how_much(
    original: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("kidney.export.convert.MAX_AUROC_LOST", -1.0)
    stale = converted_path(original, "int8")
    stale.write_bytes(b"made from another kidney.onnx")
    said = convert_artifact(original, "int8", SLICES, SLICES, LABELS, figures_of)
    assert "is not written" in said
    assert "macro AUROC falls by" in said
    assert [path.name for path in original.parent.iterdir()] == ["kidney.onnx"]


def test_the_first_recipe_that_holds_is_taken(
    original: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    asked = []

    def second(*arguments: Any) -> Any:
        asked.append(arguments)
        lost = 1.0 if len(asked) == 1 else 0.0
        return agreement(*arguments)._replace(auroc_lost=lost, peaks_kept=1.0)

    agreement = convert.agreement
    monkeypatch.setattr(convert, "agreement", second)
    convert_artifact(original, "int8", SLICES, SLICES, LABELS, figures_of)
    assert len(asked) == 2
    card = read_artifact(converted_path(original, "int8"))[1]
    assert card.verification.recipe == "static, the first 1 convolutions in float32"
    assert len(capsys.readouterr().out.splitlines()) == 2


CLASSES = ("normal", "tumor")


def prediction(
    tumor: float, row: int = 2, column: int = 2, other: tuple[int, int] = (0, 0)
) -> Prediction:
    """A prediction whose evidence for tumor peaks at a cell, and for normal at another."""
    evidence = np.zeros((2, 6, 6), dtype=np.float32)
    evidence[1, row, column] = evidence[0, *other] = 1
    probabilities = np.array([1 - tumor, tumor], dtype=np.float32)
    decision = Decision("tumor", tumor, "tumor", ("tumor",), ())  # is not compared
    return Prediction(probabilities, np.log(probabilities), evidence, None, None, decision)


@given(st.integers(0, 5), st.integers(0, 5))
def test_a_peak_may_move_to_a_neighbour_and_no_further(row: int, column: int):
    near = max(abs(row - 2), abs(column - 3)) <= 1
    assert peaks_kept([prediction(0.9, 2, 3)], [prediction(0.9, row, column)]) == float(near)


def test_the_peak_is_that_of_the_class_which_the_original_finds_most_probable():
    elsewhere = prediction(0.9, other=(5, 5))  # only the evidence for normal has moved
    assert peaks_kept([prediction(0.9)], [elsewhere]) == 1
    assert peaks_kept([prediction(0.1)], [elsewhere]) == 0


def test_auroc_lost_and_changed_classes_are_counted():
    labels = np.array([0, 0, 1, 1])
    before = [prediction(p) for p in (0.1, 0.2, 0.8, 0.9)]
    after = [prediction(p) for p in (0.1, 0.7, 0.6, 0.9)]
    found = agreement(before, after, labels, CLASSES)
    assert (found.auroc, found.auroc_lost) == pytest.approx((0.75, 0.25))
    assert found.same_class == 0.75
    assert found.largest_change == pytest.approx(0.5)
    assert found.peaks_kept == 1


@pytest.mark.parametrize(
    ("lost", "kept", "message"),
    [
        (0.002, 0.95, ""),
        (-0.1, 1.0, ""),
        (0.0021, 0.95, "falls by 0.0021"),
        (0.0, 0.949, "94.9%"),
        (float("nan"), 1.0, "AUROC"),
        (0.5, 0.5, "and"),
    ],
)
def test_a_limit_that_is_missed_is_named_with_its_figure(lost: float, kept: float, message: str):
    missed = Agreement(0.9, lost, kept, 1.0, 0.0).violations()
    assert message in missed
    assert bool(message) == bool(missed)
