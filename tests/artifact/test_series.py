"""What whole series say: lesions on few slices, series that may not be normal, and their slices."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import gmean

from kidney.artifact.decision import Rules, decide
from kidney.artifact.series import (
    MOST_DECISIVE,
    SeriesFinding,
    SeriesResult,
    finding_score,
    pool,
    read_series,
)

CLASSES = ("normal", "cyst", "tumor", "stone")
RULES = Rules(
    review_below=0.5,
    suspect_from={"cyst": 0.2, "tumor": 0.1, "stone": 0.2},
    set_from={"normal": 0.2, "cyst": 0.2, "tumor": 0.2, "stone": 0.2},
    ood_above=1.0,
)
NORMAL = [0.9, 0.04, 0.03, 0.03]
TUMOR = [0.05, 0.05, 0.85, 0.05]
UNSURE = [0.3, 0.25, 0.35, 0.1]
HINT = [0.82, 0.03, 0.12, 0.03]  # normal, but tumour cannot be excluded


def series(
    rows: list[list[float]],
    scores: list[float] | None = None,
    rules: Rules = RULES,
    in_order: bool = True,
) -> SeriesResult:
    probabilities = np.array(rows, dtype=np.float32)
    decisions = [
        decide(row, CLASSES, rules, score)
        for row, score in zip(probabilities, scores or [0.0] * len(rows), strict=True)
    ]
    return read_series(probabilities, decisions, CLASSES, rules, in_order=in_order)


def of(result: SeriesResult, name: str) -> SeriesFinding:
    (found,) = [one for one in result.findings if one.name == name]
    return found


def test_series_are_pooled_each_for_itself():
    rows = np.array([NORMAL, TUMOR, UNSURE])
    pooled = pool(rows, np.array([1, 0, 1]), 2)
    np.testing.assert_allclose(pooled[0], TUMOR)
    mean = gmean(rows[[0, 2]], axis=0)
    np.testing.assert_allclose(pooled[1], mean / mean.sum())


def test_a_tumour_on_few_of_many_slices_does_not_vanish():
    result = series([NORMAL] * 30 + [TUMOR] * 4 + [NORMAL] * 36)
    assert result.probabilities[0] > 0.8  # averaged, the series would be normal
    assert (result.outcome, result.label) == ("tumor", "tumor")
    tumor = of(result, "tumor")
    assert tumor.suspected
    assert tumor.score == pytest.approx(0.85)
    assert (tumor.first, tumor.last) == (30, 33)
    assert set(result.decisive) <= {30, 31, 32, 33}
    assert result.suspected == {"cyst": 0, "tumor": 4, "stone": 0}
    assert result.counts == {
        "normal": 66,
        "cyst": 0,
        "tumor": 4,
        "stone": 0,
        "needs_review": 0,
        "not_a_kidney_ct": 0,
    }


def test_a_series_without_any_suspicion_is_normal():
    result = series([NORMAL] * 40)
    assert (result.outcome, result.label) == ("normal", "normal")
    assert not any(one.suspected for one in result.findings)
    assert len(result.decisive) == MOST_DECISIVE


@pytest.mark.parametrize(("slices", "outcome"), [(1, "normal"), (2, "needs_review")])
def test_a_run_on_which_a_finding_cannot_be_excluded_is_never_normal(slices: int, outcome: str):
    # The score of the run stays below its threshold: the slices alone forbid it.
    rules = Rules(**{**RULES.__dict__, "series_from": {"tumor": 0.5}})
    result = series([NORMAL] * 30 + [HINT] * slices + [NORMAL] * 30, rules=rules)
    assert result.label == "normal"
    assert of(result, "tumor").score < 0.5
    assert result.outcome == outcome


def test_the_threshold_of_a_series_is_its_own():
    weak = [NORMAL, NORMAL, HINT, NORMAL, NORMAL]
    assert series(weak).outcome == "normal"
    strict = Rules(**{**RULES.__dict__, "series_from": {"tumor": 0.05}})
    result = series(weak, rules=strict)
    assert result.outcome == "needs_review"
    assert of(result, "tumor").threshold == 0.05
    assert of(result, "cyst").threshold == RULES.suspect_from["cyst"]


def test_slices_above_and_below_the_kidneys_do_not_dilute():
    alone = series([TUMOR, NORMAL, TUMOR, TUMOR])
    far = [[0.97, 0.01, 0.01, 0.01]] * 20
    result = series([*far, TUMOR, NORMAL, TUMOR, TUMOR, *far], [2.0] * 20 + [0.0] * 4 + [2.0] * 20)
    np.testing.assert_array_equal(result.probabilities, alone.probabilities)
    assert result.outcome == alone.outcome == "tumor"
    assert of(result, "tumor").score == of(alone, "tumor").score
    assert result.counts["not_a_kidney_ct"] == 40
    assert set(result.decisive) <= set(range(20, 24))


def test_refused_slices_within_the_kidneys_forbid_normal():
    result = series([NORMAL] * 9, [0.0] * 4 + [2.0] + [0.0] * 4)
    assert result.unfamiliar_within == 1
    assert result.outcome == "needs_review"
    ends = series([NORMAL] * 9, [2.0, 2.0, *[0.0] * 5, 2.0, 2.0])
    assert (ends.unfamiliar_within, ends.outcome) == (0, "normal")


def test_a_refused_slice_that_is_suspected_counts():
    result = series([NORMAL] * 8 + [HINT], [0.0] * 8 + [2.0])
    assert result.outcome == "needs_review"
    assert result.suspected["tumor"] == 1


def test_a_series_without_a_kidney_is_none():
    result = series([NORMAL, NORMAL], [2.0, np.nan])
    assert (result.outcome, result.label) == ("not_a_kidney_ct", "normal")
    assert result.decisive == (0, 1)


def test_two_findings_need_a_radiologist():
    stone = [0.05, 0.05, 0.05, 0.85]
    result = series([NORMAL] * 5 + [TUMOR] * 3 + [NORMAL] * 5 + [stone] * 3)
    assert result.outcome == "needs_review"
    assert {one.name for one in result.findings if one.suspected} == {"tumor", "stone"}
    assert {5, 6, 7, 13, 14, 15} >= set(result.decisive)


def test_one_certain_slice_does_not_decide_for_the_others():
    result = series([[0.0, 0.0, 1.0, 0.0], *[[0.999997, 1e-6, 1e-6, 1e-6]] * 9])
    assert np.isfinite(result.probabilities).all()
    assert result.outcome == "needs_review"


def test_a_finding_with_an_output_of_its_own_is_scored_by_it():
    probabilities = np.array([NORMAL] * 20)
    decisions = [decide(row, CLASSES, RULES) for row in probabilities]
    shown = np.full((20, 3), 0.05)
    shown[8:12, 1] = 0.9
    rules = Rules(**{**RULES.__dict__, "series_from": dict.fromkeys(CLASSES[1:], 0.7)})
    result = read_series(probabilities, decisions, CLASSES, rules, in_order=True, shown=shown)
    tumor = of(result, "tumor")
    assert (tumor.suspected, tumor.first, tumor.last) == (True, 8, 11)
    assert tumor.score == pytest.approx(0.9)
    assert not of(result, "cyst").suspected
    assert result.outcome == "needs_review"  # though each slice alone is normal


def test_without_an_order_neighbours_say_nothing():
    rows = [TUMOR, NORMAL, NORMAL, TUMOR, NORMAL, NORMAL, TUMOR]
    ordered, pictures = series(rows), series(rows, in_order=False)
    assert of(pictures, "tumor").score == pytest.approx(0.85)
    assert of(ordered, "tumor").score < 0.4
    assert (of(pictures, "tumor").first, of(pictures, "tumor").last) == (None, None)
    assert set(of(pictures, "tumor").slices) == {0, 3, 6}
    assert pictures.unfamiliar_within == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_the_score_is_the_highest_mean_of_neighbours(values: list[float], seed: int):
    probability = np.array(values)
    score, chosen = finding_score(probability, in_order=True)
    width = min(3, len(values))
    means = [probability[at : at + width].mean() for at in range(len(values) - width + 1)]
    assert score == pytest.approx(max(means))
    assert probability[chosen].mean() == pytest.approx(score)
    assert finding_score(probability[::-1], in_order=True)[0] == pytest.approx(score)
    mixed = np.random.default_rng(seed).permutation(probability)
    top, _ = finding_score(mixed, in_order=False)
    assert top == pytest.approx(np.sort(probability)[-width:].mean())
    assert top >= score - 1e-12


rows_of_slices = st.lists(st.sampled_from([NORMAL, TUMOR, UNSURE, HINT]), min_size=1, max_size=25)


@given(rows_of_slices, st.data(), st.booleans())
@settings(max_examples=100, deadline=None)
def test_what_may_never_be_normal_never_is(rows, data, in_order: bool):
    scores = data.draw(
        st.lists(st.sampled_from([0.0, 2.0]), min_size=len(rows), max_size=len(rows))
    )
    result = series(rows, scores, in_order=in_order)
    assert len(result.findings) == 3
    assert sum(result.counts.values()) == len(rows)
    assert set(result.decisive) <= set(range(len(rows)))
    if result.outcome == "normal":
        assert not any(one.suspected for one in result.findings)
        assert not result.unfamiliar_within
        suspect = [row[2] >= 0.1 for row in rows]
        assert not any(a and b for a, b in pairwise(suspect))
        assert not any(a and score > 1 for a, score in zip(suspect, scores, strict=True))
    if in_order:
        turned = series(rows[::-1], scores[::-1])
        assert turned.outcome == result.outcome
        np.testing.assert_allclose(turned.probabilities, result.probabilities, rtol=1e-5)


@pytest.mark.parametrize("rows", [[UNSURE], [[0.25] * 4], [TUMOR], [NORMAL], [HINT]])
@pytest.mark.parametrize("in_order", [True, False])
def test_a_series_of_one_slice_says_what_the_slice_says(rows, in_order: bool):
    result = series(rows, in_order=in_order)
    np.testing.assert_allclose(result.probabilities, rows[0], rtol=1e-6)
    assert result.decisive == (0,)
    alone = decide(np.array(rows[0]), CLASSES, RULES)
    assert (result.label, result.outcome) == (alone.label, alone.outcome)
