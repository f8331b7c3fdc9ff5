import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from kidney.decision import NEEDS_REVIEW, decide

CLASSES = ("normal", "cyst", "tumor")
probabilities = stn.arrays(np.float32, 3, elements=st.floats(0, 1, width=32))


def test_a_sure_answer_stands():
    decision = decide(np.array([0.1, 0.1, 0.8]), CLASSES, review_below=0.7)
    assert (decision.label, decision.outcome) == ("tumor", "tumor")
    assert decision.probability == 0.8
    assert not decision.needs_review


def test_an_unsure_answer_keeps_its_label_but_needs_review():
    decision = decide(np.array([0.1, 0.5, 0.4]), CLASSES, review_below=0.7)
    assert decision.label == "cyst"
    assert decision.outcome == NEEDS_REVIEW


def test_a_probability_equal_to_the_threshold_stands():
    assert decide(np.array([0.25, 0.75, 0]), CLASSES, review_below=0.75).outcome == "cyst"


@given(probabilities, st.floats(0, 1))
def test_review_is_exactly_what_lies_below(values, review_below):
    decision = decide(values, CLASSES, review_below)
    assert decision.probability == values.max()
    assert values[CLASSES.index(decision.label)] == values.max()
    assert decision.needs_review == (float(values.max()) < review_below)
    assert decision.outcome == (NEEDS_REVIEW if decision.needs_review else decision.label)


@given(probabilities, st.permutations(range(3)))
def test_the_order_of_the_classes_does_not_matter(values, order):
    if len(set(values.tolist())) < 3:
        return  # equal probabilities: the first class wins
    shuffled = decide(values[list(order)], [CLASSES[i] for i in order], 0.5)
    assert shuffled == decide(values, CLASSES, 0.5)


@pytest.mark.parametrize("values", [[0.5, 0.5], [[0.1, 0.2, 0.7]], []])
def test_another_number_of_probabilities_is_refused(values):
    with pytest.raises(ValueError, match="one probability for each"):
        decide(np.array(values), CLASSES, 0.5)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -0.1, 1.1])
def test_what_is_no_probability_is_refused(wrong):
    with pytest.raises(ValueError, match="between 0 and 1"):
        decide(np.array([0.1, 0.2, wrong]), CLASSES, 0.5)
