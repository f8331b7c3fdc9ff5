import json

import numpy as np
import pandas as pd
import pytest

from kidney.artifact.decision import NEEDS_REVIEW, Rules
from kidney.evaluation.evaluate import evaluate
from kidney.evaluation.predictions import FILES, predictions_of, read_predictions, write_result
from kidney.evaluation.report.cards import model_card, model_card_markdown
from kidney.evaluation.report.page import report_page
from kidney.evaluation.result import EvaluationResult, Figure

CLASSES = ["normal", "cyst", "tumor"]
RULES = Rules(
    review_below=0.6,
    suspect_from={"cyst": 0.3, "tumor": 0.1},
    set_from={"normal": 0.2, "cyst": 0.2, "tumor": 0.2},
    ood_above=5.0,
)
PROBABILITIES = np.array([[0.9, 0.06, 0.04], [0.5, 0.3, 0.2], [0.1, 0.1, 0.8]], dtype=np.float32)
SLICES = pd.DataFrame(
    {
        "path": ["a.jpg", "b.jpg", "c.jpg"],
        "frame": 0,
        "label": ["normal", "cyst", "tumor"],
        "scan": ["0012", "None", "s"],  # names that a careless reader would change
        "patient": ["0012", "NA", "p"],
        "phase": ["plain", "", "enhanced"],
        "plane": "axial",
        "width": 512,
        "height": 400,
        "sha256": "0",
    },
    index=[7, 3, 5],
)


@pytest.fixture
def predictions() -> pd.DataFrame:
    scores = np.array([0.0, 1.0, 9.0])
    return predictions_of(SLICES, CLASSES, PROBABILITIES, np.log(PROBABILITIES), RULES, scores)


def test_decisions_stand_beside_what_they_come_from(predictions: pd.DataFrame):
    assert predictions["decision"].tolist() == ["normal", NEEDS_REVIEW, NEEDS_REVIEW]
    assert predictions["set"].tolist() == ["normal", "normal cyst tumor", "tumor"]
    assert predictions["suspected"].tolist() == ["", "cyst tumor", "tumor"]
    assert predictions["ood_score"].tolist() == [0.0, 1.0, 9.0]
    np.testing.assert_array_equal(predictions[CLASSES], PROBABILITIES)
    np.testing.assert_array_equal(predictions["logit_cyst"], np.log(PROBABILITIES[:, 1]))
    assert list(predictions.columns) == [
        "path", "frame", "label", "scan", "patient", "phase", "plane", "width", "height",
        *CLASSES, *(f"logit_{name}" for name in CLASSES),
        "ood_score", "decision", "set", "suspected",
    ]  # fmt: skip
    assert predictions["path"].tolist() == ["a.jpg", "b.jpg", "c.jpg"]


def test_a_model_without_a_score_takes_everything_for_a_kidney_ct():
    predictions = predictions_of(SLICES, CLASSES, PROBABILITIES, np.log(PROBABILITIES), RULES)
    assert predictions["ood_score"].isna().all()
    assert predictions["decision"].tolist() == ["normal", NEEDS_REVIEW, "tumor"]


@pytest.mark.parametrize("scores", [True, False])
def test_the_table_comes_back_as_it_was_written(predictions: pd.DataFrame, tmp_path, scores: bool):
    if not scores:
        predictions = predictions.assign(ood_score=np.nan)
    predictions.to_csv(tmp_path / "predictions.csv", index=False)
    again = read_predictions(tmp_path / "predictions.csv")
    pd.testing.assert_frame_equal(
        again, predictions.reset_index(drop=True).astype(again.dtypes), rtol=1e-6
    )
    assert again["ood_score"].dtype == np.float64
    assert evaluated(again).figures.keys() == evaluated(predictions).figures.keys()


def evaluated(predictions: pd.DataFrame) -> EvaluationResult:
    split = {"name": "by_patient", "fold": 0, "folds": 5, "part": "test"}
    model, data = {"backbone": "b", "run": "r"}, {"name": "d"}
    return evaluate(predictions, CLASSES, model=model, data=data, split=split)


def test_every_evaluation_leaves_the_same_files_of_one_result(predictions, tmp_path):
    result = evaluated(predictions)
    random = result.model_copy(update={"split": result.split.model_copy(update={"name": "leaky"})})
    write_result(tmp_path, result, predictions, random=random)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)
    assert EvaluationResult.read_file(tmp_path / "metrics.json") == result
    assert json.loads((tmp_path / "model-card.json").read_text()) == model_card(result)
    assert (tmp_path / "model-card.md").read_text() == model_card_markdown(result)
    page = report_page(result, predictions, [], random=random)
    assert (tmp_path / "report.html").read_text() == page
    assert len(read_predictions(tmp_path / "predictions.csv")) == 3


def test_nothing_is_written_of_a_result_that_is_no_json(predictions, tmp_path):
    result = evaluated(predictions)
    figures = {**result.figures, "ece": Figure(value=float("nan"))}
    with pytest.raises(ValueError, match="JSON"):
        write_result(tmp_path, result.model_copy(update={"figures": figures}), predictions)
    assert list(tmp_path.iterdir()) == []
