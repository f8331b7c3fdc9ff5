import dataclasses

import numpy as np
import pytest
from scipy.stats import gmean

from kidney.artifact.decision import Rules, decide
from kidney.artifact.series import MOST_DECISIVE, StudyAnswer, answer_study, pool

CLASSES = ("normal", "cyst", "tumor", "stone")
RULES = Rules(
    review_below=0.5,
    suspect_from={"cyst": 0.2, "tumor": 0.1, "stone": 0.2},
    set_from=0.2,
    ood_above=1.0,
)


def study(rows: list[list[float]], scores: list[float] | None = None) -> StudyAnswer:
    probabilities = np.array(rows, dtype=np.float32)
    decisions = [
        decide(row, CLASSES, RULES, score)
        for row, score in zip(probabilities, scores or [0.0] * len(rows), strict=True)
    ]
    return answer_study(probabilities, decisions, CLASSES, RULES)


NORMAL = [0.9, 0.04, 0.03, 0.03]
TUMOR = [0.05, 0.05, 0.85, 0.05]
UNSURE = [0.3, 0.25, 0.35, 0.1]


def test_studies_are_pooled_each_for_itself():
    rows = np.array([NORMAL, TUMOR, UNSURE])
    pooled = pool(rows, np.array([1, 0, 1]), 2)
    np.testing.assert_allclose(pooled[0], TUMOR)
    mean = gmean(rows[[0, 2]], axis=0)
    np.testing.assert_allclose(pooled[1], mean / mean.sum())


def test_a_study_is_decided_by_its_pooled_probabilities():
    said = study([NORMAL, TUMOR, TUMOR, UNSURE])
    np.testing.assert_allclose(said.probabilities.sum(), 1)
    assert said.decision.label == said.decision.outcome == "tumor"
    assert said.counts == {
        "normal": 1,
        "cyst": 0,
        "tumor": 2,
        "stone": 0,
        "needs_review": 1,
        "not_a_kidney_ct": 0,
    }
    assert said.suspected == {"cyst": 1, "tumor": 3, "stone": 0}


def test_the_decisive_slices_speak_for_the_label_the_strongest_first():
    stronger = [0.01, 0.01, 0.97, 0.01]
    assert study([NORMAL, TUMOR, stronger, TUMOR, UNSURE]).decisive == (2, 1, 3, 4)


def test_the_decisive_slices_are_few():
    said = study([TUMOR] * 40)
    assert said.decisive == tuple(range(MOST_DECISIVE))


def test_slices_that_are_no_kidney_ct_do_not_count():
    alone = study([NORMAL, UNSURE])
    said = study([TUMOR, NORMAL, UNSURE, TUMOR], [2.0, 0.0, 0.0, 2.0])
    np.testing.assert_array_equal(said.probabilities, alone.probabilities)
    assert said.decision == alone.decision
    assert set(said.decisive) <= {1, 2}
    assert said.counts["not_a_kidney_ct"] == 2
    assert said.suspected["tumor"] == 1


def test_a_study_without_a_kidney_ct_is_none():
    said = study([TUMOR, TUMOR], [2.0, np.nan])
    assert said.decision.outcome == "not_a_kidney_ct"
    assert said.decision.label == "tumor"
    assert said.decisive == (0, 1)


def test_one_certain_slice_does_not_decide_for_the_others():
    said = study([[0.0, 0.0, 1.0, 0.0], *[[0.999997, 1e-6, 1e-6, 1e-6]] * 9])
    assert np.isfinite(said.probabilities).all()
    assert said.decision.label == "normal"


@pytest.mark.parametrize("rows", [[UNSURE], [[0.25] * 4]])
def test_a_study_of_one_slice_says_what_the_slice_says(rows):
    said = study(rows)
    np.testing.assert_allclose(said.probabilities, rows[0], rtol=1e-6)
    assert said.decisive == (0,)
    slice_says = decide(np.array(rows[0]), CLASSES, RULES)
    assert dataclasses.replace(said.decision, probability=0) == dataclasses.replace(
        slice_says, probability=0
    )
