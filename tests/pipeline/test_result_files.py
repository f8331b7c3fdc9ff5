import json

import numpy as np
import pandas as pd
import pytest

from kidney.artifact.decision import NEEDS_REVIEW, Rules
from kidney.evaluation.evaluate import evaluate
from kidney.pipeline.result_files import predictions_of, read_predictions, write_result

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
    assert said["decision"].tolist() == ["normal", NEEDS_REVIEW, NEEDS_REVIEW]
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


def test_three_files_tell_the_result(said: pd.DataFrame, tmp_path):
    result = {
        "model": {"backbone": "b", "run": "r"},
        "data": {"name": "d"},
        "split": {"name": "by_scan", "fold": 0, "folds": 5, "part": "test"},
        **evaluate(said, CLASSES),
    }
    write_result(tmp_path, result, said)
    assert json.loads((tmp_path / "metrics.json").read_text()) == result
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    assert len(read_predictions(tmp_path / "predictions.csv")) == 3
