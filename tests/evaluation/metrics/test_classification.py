import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from kidney.evaluation.metrics.classification import auroc, confusion, figures

CLASSES = ("normal", "cyst", "tumor", "stone")


@st.composite
def answers(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Labels that hold every class, and probabilities with many ties."""
    rest = draw(st.lists(st.integers(0, 3), max_size=30))
    labels = np.array([0, 1, 2, 3, *rest])
    size = 4 * len(labels)
    whole = draw(st.lists(st.integers(1, 4), min_size=size, max_size=size))
    scores = np.array(whole, dtype=float).reshape(-1, 4)
    return labels, scores / scores.sum(axis=1, keepdims=True)


@given(answers())
@settings(max_examples=40, deadline=None)
def test_figures_are_those_of_sklearn(answer: tuple[np.ndarray, np.ndarray]):
    labels, probabilities = answer
    ours = figures(labels, probabilities, CLASSES)
    called = probabilities.argmax(axis=1)
    ranks = sklearn.roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")
    assert ours["accuracy"] == pytest.approx(sklearn.accuracy_score(labels, called))
    assert ours["balanced_accuracy"] == pytest.approx(
        sklearn.balanced_accuracy_score(labels, called)
    )
    assert ours["macro_auroc"] == pytest.approx(ranks)
    assert ours["loss"] == pytest.approx(sklearn.log_loss(labels, probabilities))
    recalls = sklearn.recall_score(labels, called, average=None, labels=range(4), zero_division=0)
    for k, name in enumerate(CLASSES):
        area = sklearn.roc_auc_score(labels == k, probabilities[:, k])
        assert ours[f"auroc_{name}"] == pytest.approx(area)
        assert ours[f"recall_{name}"] == pytest.approx(recalls[k])
    np.testing.assert_array_equal(
        confusion(labels, probabilities),
        sklearn.confusion_matrix(labels, called, labels=range(4)),
    )


def test_a_class_that_does_not_occur_is_left_out_of_the_means():
    labels = np.array([0, 0, 1, 1, 3])  # no tumor
    probabilities = np.array(
        [[0.7, 0.1, 0.1, 0.1], [0.2, 0.5, 0.2, 0.1], [0.1, 0.6, 0.2, 0.1], [0.3, 0.4, 0.2, 0.1],
         [0.1, 0.1, 0.6, 0.2]]
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours = figures(labels, probabilities, CLASSES)
    assert np.isnan(ours["recall_tumor"])
    assert np.isnan(ours["auroc_tumor"])
    assert ours["balanced_accuracy"] == pytest.approx((1 / 2 + 2 / 2 + 0 / 1) / 3)
    known = [ours[f"auroc_{name}"] for name in ("normal", "cyst", "stone")]
    assert ours["macro_auroc"] == pytest.approx(np.mean(known))
    assert ours["accuracy"] == pytest.approx(3 / 5)


def test_one_class_alone_has_no_area_but_an_accuracy():
    ours = figures(np.zeros(3, dtype=int), np.tile([0.4, 0.3, 0.2, 0.1], (3, 1)), CLASSES)
    assert np.isnan(ours["macro_auroc"])
    assert ours["accuracy"] == ours["balanced_accuracy"] == 1.0


def test_equal_scores_are_worth_a_half():
    assert auroc(np.array([True, False, True, False]), np.ones(4)) == 0.5


def test_a_certain_error_costs_much_but_not_infinitely():
    ours = figures(np.array([0, 1]), np.array([[0.0, 1.0], [0.0, 1.0]]), ("normal", "tumor"))
    assert 10 < ours["loss"] < 20
