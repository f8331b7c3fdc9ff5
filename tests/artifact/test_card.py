import dataclasses
import json
from typing import Any

import pytest

from kidney.artifact.card import (
    METADATA_KEY,
    Baseline,
    Benchmark,
    Embedding,
    EvaluatedSplit,
    Figure,
    Metrics,
    Verification,
    from_metadata,
    to_metadata,
    window_contract,
)
from kidney.errors import ArtifactError, ConfigError
from tests.helpers.tiny_model import CARD

FIGURES = {"macro_auroc": Figure(0.9, 0.8, 0.95), "ece_by_chance": 0.05}
FULL = dataclasses.replace(
    CARD,
    baseline=Baseline(
        slices=4,
        grey=(1 / 16,) * 16,
        sizes={"512 x 512": 1.0},
        phase={"enhanced": 0.5, "plain": 0.5},
        plane={"axial": 1.0, "coronal": 0.0, "sagittal": 0.0},
        enhancement=(150.0,) * 11,
        soft_grey=(120.0,) * 11,
        body_share=(0.5,) * 11,
        embedding=Embedding((1.0,) * 64, (1.0,) * 64),
    ),
    metrics=Metrics(EvaluatedSplit("by_patient", "all", 5, "test"), 40, 8, FIGURES),
    verification=Verification(3, (1, 3), ("64 x 70",), {"probabilities": 1e-7}, "2.14.1"),
    benchmark=Benchmark(1.0, 2.0, 3.0, (512, 512), 2, "a processor", "1.32.0", 20.0),
    rules=dataclasses.replace(CARD.rules, ood_above=1.5),
)
PARTS = [name for name, value in vars(FULL).items() if dataclasses.is_dataclass(value)]


def fields(card: Any = FULL) -> dict[str, Any]:
    return json.loads(to_metadata(card)[METADATA_KEY])


def refusal(text: str) -> str:
    with pytest.raises(ArtifactError) as error:
        from_metadata({METADATA_KEY: text})
    return str(error.value)


@pytest.mark.parametrize("card", [CARD, FULL], ids=["without figures", "full"])
def test_a_card_is_read_as_it_was_written(card: Any):
    assert from_metadata(to_metadata(card)) == card


def test_a_file_without_a_card_is_refused():
    with pytest.raises(ArtifactError, match="model card") as error:
        from_metadata({"author": "someone"})
    assert "author" in error.value.problem
    assert "export.py" in error.value.remedy


def test_a_card_of_another_schema_is_refused():
    message = refusal(json.dumps({**fields(), "schema": 3}))
    assert "schema 5, but got 3" in message
    assert "Export the model again" in message


def test_a_card_without_a_schema_is_refused():
    without = fields()
    del without["schema"]
    message = refusal(json.dumps(without))
    assert "schema 5, but got None" in message
    assert "run the version that exported it" in message


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"schema": 5}', '{"schema": 5, "x": 2}', "[" * 100_000],
    ids=["empty", "open", "list", "null", "bare", "unknown", "bottomless"],
)
def test_a_broken_card_is_refused(text: str):
    assert "cannot be read" in refusal(text)


@pytest.mark.parametrize("value", [{}, [], "text", 3], ids=str)
@pytest.mark.parametrize("part", PARTS)
def test_a_broken_part_is_refused_by_its_name(part: str, value: object):
    assert f"cannot be read: {part}" in refusal(json.dumps({**fields(), part: value}))


@pytest.mark.parametrize("part", [name for name in vars(FULL) if name != "made_from"])
def test_a_missing_part_is_refused_by_its_name(part: str):
    without = fields()
    del without[part]
    assert f"{part}: Field required" in refusal(json.dumps(without))


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        (None, {"mood": "good"}, "mood"),
        (None, {"names": {"tumor": "tumour"}}, "names for the classes"),
        (None, {"precision": "float8"}, "float8"),
        (None, {"bias": [0.5]}, "a bias for each class"),
        (None, {"names": None}, "names"),
        (None, {"temperature": 0}, "temperature"),
        ("window", {"width": 1}, "window.width"),
        ("window", {"center": float("nan")}, "window.center"),
        ("input", {"mood": "good"}, "input.mood"),
        ("metrics", {"figures": {"accuracy": {"value": 1}}}, "metrics.figures.accuracy"),
        ("rules", {"suspect_from": {"cyst": 0.5, "tumor": 0.5}}, "stone"),
        ("rules", {"suspect_from": dict.fromkeys(CARD.classes, 0.5)}, "normal"),
        ("rules", {"review_below": "often"}, "rules.review_below"),
        ("rules", {"mood": "good"}, "rules.mood"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(part: str | None, change: Any, message: str):
    card = fields()
    (card[part] if part else card).update(change)
    assert message in refusal(json.dumps(card))


def test_the_window_of_training_data_is_the_contract():
    window = window_contract("350/50")
    assert (window.center, window.width, window.unit) == (50, 350, "HU")
    assert window.why == "training slices were made with it"
    assert str(window.window) == "350/50"


def test_without_a_known_window_it_is_the_usual_one():
    window = window_contract(None)
    assert (window.center, window.width) == (40, 400)
    assert "do not tell theirs" in window.why


def test_an_unknown_window_is_refused():
    with pytest.raises(ConfigError):
        window_contract("wide")
