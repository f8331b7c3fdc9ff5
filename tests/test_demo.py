"""What `make demo` says of its model, and when it fails."""

import base64
from pathlib import Path

import pytest

from kidney.evaluation.result import Figure
from scripts import demo


@pytest.mark.parametrize(
    ("low", "near"), [(None, True), (0.45, True), (0.74, True), (0.76, False)]
)  # fmt: skip
def test_a_model_near_chance_is_noticed(low: float | None, near: bool):
    assert demo.near_chance(Figure(value=0.8, low=low, high=0.9), demo.LEAST_AUROC) == near


def test_the_answer_is_said_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(demo, "ARTIFACTS", tmp_path)
    overlay = "data:image/png;base64," + base64.b64encode(b"a picture").decode()
    series = {
        "decisive": [1, 0],
        "probabilities": {"normal": 0.1, "tumor": 0.9},
        "decision": "tumor",
        "suspected": {"cyst": 0, "tumor": 2},
    }
    words = demo.words({"series": [series], "predictions": [{"overlay": overlay}] * 2})
    assert "tumor 90%, normal 10%" in words
    assert "tumor on 2 of 2 slices" in words
    assert "cyst" not in words
    assert "slice 2 of 2" in words
    assert (tmp_path / "overlay.png").read_bytes() == b"a picture"
