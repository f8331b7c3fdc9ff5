"""MODEL_CARD.md says what the artifact and its evaluation say, and nothing of another model."""

import dataclasses
import re
from typing import Any

import pytest

from kidney.errors import ArtifactError
from kidney.evaluation.metrics.classification import group_figures
from kidney.evaluation.report.artifact_card import artifact_card
from kidney.evaluation.report.wording import value_and_interval
from kidney.reporting.labels import figure_name
from kidney.reporting.markdown import text as text_of
from tests.helpers.evaluation_results import CLASSES, result_of, said_of
from tests.helpers.tiny_model import CARD

SAID = said_of()
RESULT = result_of(SAID) | {"model": {"backbone": "tiny", "run": CARD.run, "code": "0a1b2c"}}
RESULT["split"]["validation_folds"] = [3, 4]
FULL = dataclasses.replace(
    CARD, metrics={key: RESULT[key] for key in ("split", "slices", "scans", "figures")}
)
GROUPS = group_figures(SAID, CLASSES, repeats=50)
LOCALISED = {
    "model": {"run": CARD.run},
    "data": {"name": "drawn.zip"},
    "slices": 24,
    "patients": 5,
    "localisation": {"peak_inside": {"value": 0.625, "low": 0.25, "high": 0.75}},
}


def page(card=FULL, result: dict[str, Any] = RESULT, localised=(LOCALISED,)) -> str:
    return artifact_card(card, "kidney.onnx", 1_580_000, "a" * 64, result, GROUPS, localised)


def test_it_has_the_sections_of_mitchell_et_al():
    assert re.findall(r"^## (.*)$", page(), flags=re.M) == [
        "Model details", "Intended use", "Factors", "Metrics", "Evaluation data", "Training data",
        "Quantitative analyses", "Ethical considerations", "Caveats and recommendations",
    ]  # fmt: skip


def test_every_figure_of_the_artifact_is_in_it_with_its_interval():
    told = page()
    for name, figure in FULL.metrics["figures"].items():
        row = " | ".join([text_of(figure_name(name)), *value_and_interval(figure)])
        assert f"| {row} |" in told


def test_groups_and_localisation_are_told_with_intervals():
    text = page()
    group = GROUPS["phase"]["enhanced"]
    value, interval = value_and_interval(group["figures"]["accuracy"])
    told = f"| enhanced | {group['scans']} | {group['slices']} | {value} ({interval}) |"
    assert told in text
    assert "24 slices of 5 patients of drawn.zip" in text
    assert "| peak inside | 0.625 | 0.250 to 0.750 |" in text


def test_what_only_the_artifact_knows_is_in_it():
    text = page()
    for part in ("a" * 64, "1.6 MB", "| suspects tumor | from a probability of 0.1 |", "uint8"):
        assert part in text


def test_what_it_learned_from_is_told():
    assert "phantom (here, fingerprint f1): 120 slices of 40 scans in all" in page()
    assert "Left out in turn for validation: fold 3, 4;" in page()


def test_the_same_gives_the_same():
    assert page() == page()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"result": RESULT | {"model": {"backbone": "tiny", "run": "other"}}}, "is of run other"),
        ({"result": RESULT | {"figures": {}}}, "has other figures"),
        ({"localised": [LOCALISED | {"model": {"run": "other"}}]}, "got one by run other"),
    ],
)
def test_figures_of_another_model_are_refused(changed: dict[str, Any], words: str):
    with pytest.raises(ArtifactError, match=words):
        page(**changed)
