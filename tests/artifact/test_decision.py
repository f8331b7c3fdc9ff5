import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from kidney.artifact.decision import (
    ACCEPT_NOTHING,
    NEEDS_REVIEW,
    NOT_A_KIDNEY_CT,
    Rules,
    decide,
    findings,
)

CLASSES = ("normal", "cyst", "tumor")
probabilities = stn.arrays(np.float32, 3, elements=st.floats(0, 1, width=32))
thresholds = st.floats(0, 1)
some_rules = st.builds(
    Rules,
    review_below=thresholds,
    suspect_from=st.fixed_dictionaries({"cyst": thresholds, "tumor": thresholds}),
    set_from=st.fixed_dictionaries(dict.fromkeys(CLASSES, thresholds)),
    ood_above=st.none() | st.floats(-5, 5),
)


def rules(**changes) -> Rules:
    plain = Rules(
        review_below=0.7,
        suspect_from={"cyst": 0.5, "tumor": 0.2},
        set_from={"normal": 0.3, "cyst": 0.3, "tumor": 0.3},
        ood_above=None,
    )
    return dataclasses.replace(plain, **changes)


def test_a_sure_answer_stands():
    decision = decide(np.array([0.1, 0.1, 0.8]), CLASSES, rules())
    assert (decision.label, decision.outcome) == ("tumor", "tumor")
    assert decision.probability == 0.8


def test_an_unsure_answer_keeps_its_label_but_needs_review():
    decision = decide(np.array([0.1, 0.5, 0.4]), CLASSES, rules())
    assert decision.label == "cyst"
    assert decision.outcome == NEEDS_REVIEW


def test_a_probability_equal_to_a_threshold_reaches_it():
    sets = {"normal": 0.25, "cyst": 0.25, "tumor": 0.25}
    exact = rules(review_below=0.75, suspect_from={"cyst": 0.75, "tumor": 0.25}, set_from=sets)
    decision = decide(np.array([0, 0.75, 0.25]), CLASSES, exact)
    assert decision.suspected == ("cyst", "tumor")
    assert decision.prediction_set == ("cyst", "tumor")
    alone = dataclasses.replace(exact, suspect_from={"cyst": 0.75, "tumor": 0.26})
    alone = dataclasses.replace(alone, set_from=sets | {"tumor": 0.26})
    assert decide(np.array([0, 0.75, 0.25]), CLASSES, alone).outcome == "cyst"


def test_a_slice_of_which_a_tumour_is_suspected_is_not_called_normal():
    decision = decide(np.array([0.75, 0.0, 0.25]), CLASSES, rules())
    assert decision.label == "normal"
    assert decision.outcome == NEEDS_REVIEW
    assert decision.suspected == ("tumor",)
    assert decision.prediction_set == ("normal",)


def test_a_slice_that_may_be_another_class_needs_review():
    sets = {"normal": 0.05, "cyst": 0.3, "tumor": 0.3}
    decision = decide(np.array([0.06, 0.0, 0.94]), CLASSES, rules(set_from=sets))
    assert decision.prediction_set == ("normal", "tumor")
    assert decision.outcome == NEEDS_REVIEW


def test_normal_is_never_suspected():
    assert findings(CLASSES) == ("cyst", "tumor")
    assert findings(("a", "b")) == ("a", "b")
    always = rules(suspect_from={"cyst": 0.0, "tumor": 0.0})
    assert decide(np.array([1.0, 0, 0]), CLASSES, always).suspected == ("cyst", "tumor")


@pytest.mark.parametrize(
    ("score", "outcome"),
    [
        (1.9, "tumor"),
        (2.0, "tumor"),
        (2.1, NEEDS_REVIEW),
        (np.nan, NEEDS_REVIEW),
        (None, "tumor"),
    ],
)
def test_what_is_unlike_the_training_slices_and_suspected_needs_review(score, outcome):
    decision = decide(np.array([0, 0.1, 0.9]), CLASSES, rules(ood_above=2.0), score)
    assert decision.outcome == outcome
    assert decision.label == "tumor"
    assert decision.unfamiliar is (outcome == NEEDS_REVIEW)


@pytest.mark.parametrize("score", [2.1, np.nan])
def test_what_is_unlike_the_training_slices_and_not_suspected_is_no_kidney_ct(score):
    decision = decide(np.array([0.9, 0.05, 0.05]), CLASSES, rules(ood_above=2.0), score)
    assert decision.outcome == NOT_A_KIDNEY_CT
    assert decision.unfamiliar


def test_a_score_without_a_threshold_decides_nothing():
    assert decide(np.array([0, 0.1, 0.9]), CLASSES, rules(), 1e9).outcome == "tumor"


def test_unfamiliar_comes_before_unsure():
    decision = decide(np.array([0.45, 0.45, 0.1]), CLASSES, rules(ood_above=0.0), 1.0)
    assert decision.outcome == NOT_A_KIDNEY_CT


def test_a_threshold_that_nothing_reaches_is_json():
    assert json.loads(json.dumps(ACCEPT_NOTHING, allow_nan=False)) == ACCEPT_NOTHING
    decision = decide(np.array([0, 0, 1.00001]), CLASSES, rules(review_below=ACCEPT_NOTHING))
    assert decision.outcome == NEEDS_REVIEW


@given(probabilities, some_rules, st.none() | st.floats(-5, 5))
def test_each_answer_is_what_its_threshold_says(values, drawn, score):
    decision = decide(values, CLASSES, drawn, score)
    value_of = dict(zip(CLASSES, values.tolist(), strict=True))
    assert decision.probability == value_of[decision.label] == values.max()
    foreign = None not in (score, drawn.ood_above) and score > drawn.ood_above
    alone = {decision.label} >= set(decision.prediction_set) | set(decision.suspected)
    stands = alone and not foreign and decision.probability >= drawn.review_below
    refused = foreign and not decision.suspected
    assert decision.outcome == (
        NOT_A_KIDNEY_CT if refused else decision.label if stands else NEEDS_REVIEW
    )
    assert decision.unfamiliar is foreign
    assert set(decision.suspected) == {
        name for name, threshold in drawn.suspect_from.items() if value_of[name] >= threshold
    }
    assert decision.label in decision.prediction_set
    assert set(decision.prediction_set) - {decision.label} == {
        name for name in CLASSES if value_of[name] >= drawn.set_from[name]
    } - {decision.label}
    assert list(decision.prediction_set) == [c for c in CLASSES if c in decision.prediction_set]


@given(probabilities, st.permutations(range(3)), some_rules)
def test_the_order_of_the_classes_changes_only_the_order_of_the_lists(values, order, drawn):
    if len(set(values.tolist())) < 3:
        return  # equal probabilities: the first class wins
    shuffled = decide(values[list(order)], [CLASSES[i] for i in order], drawn)
    plain = decide(values, CLASSES, drawn)
    assert (shuffled.label, shuffled.outcome) == (plain.label, plain.outcome)
    assert set(shuffled.prediction_set) == set(plain.prediction_set)
    assert set(shuffled.suspected) == set(plain.suspected)


@pytest.mark.parametrize("values", [[0.5, 0.5], [[0.1, 0.2, 0.7]], []])
def test_another_number_of_probabilities_is_refused(values):
    with pytest.raises(ValueError, match="one probability for each"):
        decide(np.array(values), CLASSES, rules())


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -0.1, 1.1])
def test_what_is_no_probability_is_refused(wrong):
    with pytest.raises(ValueError, match="between 0 and 1"):
        decide(np.array([0.1, 0.2, wrong]), CLASSES, rules())


def test_a_class_without_a_threshold_is_refused():
    with pytest.raises(ValueError, match="tumor"):
        decide(np.array([0.1, 0.2, 0.7]), CLASSES, rules(suspect_from={"cyst": 0.5}))
    with pytest.raises(ValueError, match="normal"):
        decide(np.array([0.1, 0.2, 0.7]), CLASSES, rules(set_from={"cyst": 0.5, "tumor": 0.5}))
