from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kidney.artifact.card import Benchmark, ConversionVerification
from kidney.artifact.predictor import Prediction, Predictor
from kidney.artifact.reader import read_artifact
from kidney.export import convert
from kidney.export.build import converted_path, metrics_of
from kidney.export.convert import convert_artifact
from kidney.files import sha256
from tests.helpers.small_network import random_slices

SLICES = list(random_slices(12, 64, 70)[:, 0].numpy())
LABELS = np.arange(12) % 4
FIGURES = {
    "split": {"name": "by_scan", "fold": 0, "folds": 3, "part": "test"},
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
