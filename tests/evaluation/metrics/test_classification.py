import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import gmean
from sklearn import metrics as sklearn

from kidney.evaluation.metrics.classification import (
    GROUP_FIGURES,
    POINTS,
    auroc,
    confusion,
    curves,
    evenly_spaced,
    figures,
    group_figures,
    group_weights,
    macro_auroc,
    net_benefit,
    predictive_values,
    scan_predictions,
    sensitivity_of,
    specificity_of,
)
from tests.helpers.evaluation_results import CLASSES as REPORTED
from tests.helpers.evaluation_results import predictions_of, result_of
from tests.helpers.simulated_scans import simulated

SEEDS = st.integers(0, 10_000)


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


def test_the_curves_are_those_of_sklearn():
    generator = np.random.default_rng(0)
    positive = generator.random(80) < 0.3
    score = generator.integers(0, 20, 80) / 20
    found = curves(positive, score)
    fpr, tpr, _ = sklearn.roc_curve(positive, score, drop_intermediate=False)
    np.testing.assert_allclose(found["fpr"], fpr)
    np.testing.assert_allclose(found["tpr"], tpr)
    precision, recall, _ = sklearn.precision_recall_curve(positive, score)
    np.testing.assert_allclose(found["precision"], precision[::-1])
    np.testing.assert_allclose(found["recall"], recall[::-1])


def test_long_curves_are_thinned_and_keep_their_ends():
    generator = np.random.default_rng(0)
    positive, score = generator.random(5000) < 0.3, generator.random(5000)
    found = curves(positive, score)
    assert all(len(values) <= POINTS for values in found.values())
    assert (found["fpr"][0], found["tpr"][0]) == (0, 0)
    assert (found["fpr"][-1], found["tpr"][-1]) == (1, 1)
    area = np.trapezoid(found["tpr"], found["fpr"])
    assert area == pytest.approx(sklearn.roc_auc_score(positive, score), abs=0.005)


@pytest.mark.parametrize("positive", [True, False])
def test_one_side_alone_has_no_curve(positive: bool):
    found = curves(np.full(5, positive), np.arange(5.0))
    assert found == {"fpr": [], "tpr": [], "precision": [], "recall": []}


def test_thinning_is_even():
    assert evenly_spaced(5, 100).tolist() == [0, 1, 2, 3, 4]
    assert evenly_spaced(1, 100).tolist() == [0]
    places = evenly_spaced(1000, 100)
    assert len(places) == 100
    assert (places[0], places[-1]) == (0, 999)
    assert set(np.diff(places).tolist()) <= {10, 11}


@given(SEEDS, st.integers(1, 20))
@settings(max_examples=25, deadline=None)
def test_every_scan_weighs_one(seed: int, scans: int):
    _, _, names = simulated(np.random.default_rng(seed), scans)
    weights = group_weights(names)
    for name in np.unique(names):
        own = weights[names == name]
        assert own.sum() == pytest.approx(1)
        assert len(set(own.tolist())) == 1


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_a_scan_says_the_normalised_geometric_mean_of_its_slices(seed: int):
    labels, probabilities, names = simulated(np.random.default_rng(seed), 7)
    answers = scan_predictions(labels, probabilities, names)
    assert answers.scans.tolist() == sorted(set(names.tolist()))
    for place, name in enumerate(answers.scans):
        mean = gmean(probabilities[names == name], axis=0)
        np.testing.assert_allclose(answers.probabilities[place], mean / mean.sum())
        assert answers.slices[place] == (names == name).sum()
        assert {answers.labels[place]} == set(labels[names == name].tolist())


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_neither_order_nor_copies_of_slices_change_it(seed: int):
    generator = np.random.default_rng(seed)
    labels, probabilities, names = simulated(generator, 7)
    rows = np.tile(generator.permutation(len(labels)), 3)
    once = scan_predictions(labels, probabilities, names)
    thrice = scan_predictions(labels[rows], probabilities[rows], names[rows])
    np.testing.assert_allclose(once.probabilities, thrice.probabilities)
    assert (once.labels == thrice.labels).all()


def test_one_certain_slice_does_not_decide_for_the_others():
    probabilities = np.array([[0.0, 1.0], *[[0.999999, 0.000001]] * 9])
    answers = scan_predictions(np.zeros(10, dtype=int), probabilities, np.full(10, "s"))
    assert np.isfinite(answers.probabilities).all()
    assert answers.probabilities[0].argmax() == 0


def test_a_scan_has_the_label_of_most_of_its_slices():
    probabilities = np.full((3, 2), 0.5)
    answers = scan_predictions(np.array([1, 0, 1]), probabilities, np.full(3, "s"))
    assert answers.labels.tolist() == [1]


PREDICTIONS = predictions_of()
GROUPS = group_figures(PREDICTIONS, REPORTED, repeats=50)


@pytest.mark.parametrize("name", GROUP_FIGURES)
def test_values_and_counts_are_those_of_the_evaluation(name: str):
    evaluated = result_of(PREDICTIONS).to_dict()["groups"]
    assert [*GROUPS] == [*evaluated]
    for kind, groups in evaluated.items():
        assert [*GROUPS[kind]] == [*groups]
        for value, group in groups.items():
            mine = GROUPS[kind][value]
            assert (mine["scans"], mine["slices"]) == (group["scans"], group["slices"])
            assert mine["figures"][name]["value"] == group["figures"][name]


def test_an_interval_holds_its_value_and_has_a_width():
    figure = GROUPS["phase"]["plain"]["figures"]["accuracy"]
    assert figure["low"] < figure["value"] < figure["high"]


def test_a_group_of_one_patient_has_no_interval():
    one = PREDICTIONS[PREDICTIONS["patient"] == PREDICTIONS["patient"].iloc[0]]
    figure = group_figures(one, REPORTED, repeats=50)["plane"]["axial"]["figures"]["accuracy"]
    assert figure["value"] is not None
    assert (figure["low"], figure["high"]) == (None, None)


def test_the_macro_area_is_the_mean_of_the_classes():
    generator = np.random.default_rng(0)
    labels, probabilities = generator.integers(0, 3, 60), generator.dirichlet(np.ones(3), 60)
    expected = figures(labels, probabilities, ("a", "b", "c"))["macro_auroc"]
    assert macro_auroc(labels, probabilities) == pytest.approx(expected)
    assert np.isnan(macro_auroc(np.zeros(5, dtype=int), np.full((5, 2), 0.5)))


def test_shares_are_counted_and_undefined_without_slices():
    assert sensitivity_of(np.array([0.2, 0.5, 0.9]), 0.5) == pytest.approx(2 / 3)
    assert specificity_of(np.array([0.2, 0.5, 0.9]), 0.5) == pytest.approx(1 / 3)
    assert np.isnan(sensitivity_of(np.array([]), 0.5))
    assert np.isnan(specificity_of(np.array([]), 0.5))


RATES = st.floats(0.01, 0.99)


@given(RATES, RATES, RATES)
def test_predictive_values_are_what_counting_gives(
    sensitivity: float, specificity: float, prevalence: float
):
    ppv, npv = predictive_values(sensitivity, specificity, prevalence)
    sick, well = 1e6 * prevalence, 1e6 * (1 - prevalence)
    positive = sick * sensitivity + well * (1 - specificity)
    assert ppv == pytest.approx(sick * sensitivity / positive)
    assert npv == pytest.approx(well * specificity / (1e6 - positive))


def test_a_rare_finding_makes_most_alarms_false():
    assert predictive_values(0.9, 0.8, 0.01)[0] == pytest.approx(0.0435, abs=1e-4)
    assert np.isnan(predictive_values(0.0, 1.0, 0.5)[0])
    assert np.isnan(predictive_values(1.0, 0.0, 0.5)[1])


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_the_net_benefit_is_hits_less_false_alarms_at_the_odds(seed: int):
    generator = np.random.default_rng(seed)
    positive = np.arange(40) % 4 == 0
    probability = np.clip(generator.random(40) * 0.6 + 0.3 * positive, 0, 1)
    thresholds = np.array([0.1, 0.25, 0.5, 0.7])
    model, everyone = net_benefit(positive, probability, thresholds)
    for threshold, value, all_called in zip(thresholds, model, everyone, strict=True):
        called = probability >= threshold
        odds = threshold / (1 - threshold)
        hits, alarms = (called & positive).sum(), (called & ~positive).sum()
        assert value == pytest.approx((hits - odds * alarms) / 40)
        assert all_called == pytest.approx((10 - odds * 30) / 40)
    assert (model <= positive.mean() + 1e-12).all()
    perfect, _ = net_benefit(positive, positive.astype(float), thresholds, prevalence=0.01)
    np.testing.assert_allclose(perfect, 0.01)
