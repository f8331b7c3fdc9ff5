import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kidney.artifact.decision import NEEDS_REVIEW, NOT_A_KIDNEY_CT, Rules
from kidney.evaluation.evaluate import evaluate
from kidney.evaluation.predictions import FILES, predictions_of, read_predictions, write_result
from kidney.evaluation.report.model_card import model_card, model_card_markdown
from kidney.evaluation.report.page import report_page
from tests.helpers.evaluation_results import result_of, said_of

CLASSES = ["normal", "cyst", "tumor"]
SAID = said_of()
RESULT = result_of(SAID)
RULES = Rules(0.6, {"cyst": 0.3, "tumor": 0.1}, 0.2, 5.0)
PROBABILITIES = np.array([[0.9, 0.06, 0.04], [0.5, 0.3, 0.2], [0.1, 0.1, 0.8]], dtype=np.float32)
SLICES = pd.DataFrame(
    {
        "path": ["a.jpg", "b.jpg", "c.jpg"],
        "frame": 0,
        "label": ["normal", "cyst", "tumor"],
        "scan": ["0012", "None", "s"],  # names that a careless reader would change
        "patient": ["0012", "NA", "p"],
        "phase": ["plain", "", "enhanced"],
        "view": "axial",
        "width": 512,
        "height": 400,
        "sha256": "0",
    },
    index=[7, 3, 5],
)


@pytest.fixture
def said() -> pd.DataFrame:
    scores = np.array([0.0, 1.0, 9.0])
    return predictions_of(SLICES, CLASSES, PROBABILITIES, np.log(PROBABILITIES), RULES, scores)


def test_decisions_stand_beside_what_they_come_from(said: pd.DataFrame):
    assert said["decision"].tolist() == ["normal", NEEDS_REVIEW, NOT_A_KIDNEY_CT]
    assert said["set"].tolist() == ["normal", "normal cyst tumor", "tumor"]
    assert said["suspected"].tolist() == ["", "cyst tumor", "tumor"]
    assert said["ood_score"].tolist() == [0.0, 1.0, 9.0]
    np.testing.assert_array_equal(said[CLASSES], PROBABILITIES)
    np.testing.assert_array_equal(said["logit_cyst"], np.log(PROBABILITIES[:, 1]))
    assert list(said.columns) == [
        "path", "frame", "label", "scan", "patient", "phase", "view", "width", "height",
        *CLASSES, *(f"logit_{name}" for name in CLASSES),
        "ood_score", "decision", "set", "suspected",
    ]  # fmt: skip
    assert said["path"].tolist() == ["a.jpg", "b.jpg", "c.jpg"]


def test_a_model_without_a_score_takes_everything_for_a_kidney_ct():
    said = predictions_of(SLICES, CLASSES, PROBABILITIES, np.log(PROBABILITIES), RULES)
    assert said["ood_score"].isna().all()
    assert said["decision"].tolist() == ["normal", NEEDS_REVIEW, "tumor"]


@pytest.mark.parametrize("scores", [True, False])
def test_the_table_comes_back_as_it_was_written(said: pd.DataFrame, tmp_path, scores: bool):
    if not scores:
        said = said.assign(ood_score=np.nan)
    said.to_csv(tmp_path / "said.csv", index=False)
    again = read_predictions(tmp_path / "said.csv")
    pd.testing.assert_frame_equal(
        again, said.reset_index(drop=True).astype(again.dtypes), rtol=1e-6
    )
    assert again["ood_score"].dtype == np.float64
    assert evaluate(again, CLASSES)["figures"].keys() == evaluate(said, CLASSES)["figures"].keys()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_result(tmp_path / "new", RESULT, SAID, random=result_of(SAID, "leaky"))
    return tmp_path / "new"


def test_the_files_are_the_promised_ones(folder: Path):
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)


def test_figures_and_card_are_those_of_the_result(folder: Path):
    assert json.loads((folder / "metrics.json").read_text()) == RESULT
    card = json.loads((folder / "model-card.json").read_text())
    assert card == model_card(RESULT)
    assert (folder / "model-card.md").read_text() == model_card_markdown(card)
    page = (folder / "report.html").read_text()
    assert page == report_page(RESULT, SAID, [], random=result_of(SAID, "leaky"))
    assert list(read_predictions(folder / "predictions.csv")["scan"]) == list(SAID["scan"])


def test_nothing_is_written_of_a_result_that_is_no_json(tmp_path: Path):
    nan = float("nan")
    figures = {**RESULT["figures"], "ece": {"value": nan, "low": nan, "high": nan}}
    with pytest.raises(ValueError, match="JSON"):
        write_result(tmp_path, {**RESULT, "figures": figures}, SAID)
    assert list(tmp_path.iterdir()) == []
