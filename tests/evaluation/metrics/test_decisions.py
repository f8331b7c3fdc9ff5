import dataclasses
import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kidney.artifact.decision import ACCEPT_NOTHING, Rules, decide
from kidney.evaluation.metrics.classification import group_weights, sensitivity_of, specificity_of
from kidney.evaluation.metrics.decisions import (
    area_under_risk_coverage,
    class_set_threshold,
    fit_rules,
    fit_series_threshold,
    operating_point,
    review_threshold,
    risk_coverage,
    risk_p_value,
    set_coverage,
    set_threshold,
    unambiguous,
)
from tests.helpers.simulated_scans import simulated

SEEDS = st.integers(0, 10_000)


CLASSES = ("normal", "cyst", "tumor")
ASKED = {"sensitivity": 0.9, "coverage": 0.9, "risk": 0.1, "id_acceptance": 0.95}


def fitted(seed: int = 0, scans: int = 60, ood_scores=None, **asked: float) -> Rules:
    labels, probabilities, names = simulated(np.random.default_rng(seed), scans, skill=3.0)
    return fit_rules(labels, probabilities, names, ood_scores, CLASSES, **(ASKED | asked))


def test_the_rules_do_on_fresh_scans_what_was_asked_for():
    rules = fitted()
    labels, probabilities, names = simulated(np.random.default_rng(1), 400, skill=3.0)
    weights = group_weights(names)
    said = [decide(row, CLASSES, rules) for row in probabilities]
    truth = [CLASSES[label] for label in labels]

    def share(values: list[bool], where: np.ndarray) -> float:
        return float(np.average(np.array(values)[where], weights=weights[where]))

    everywhere = np.ones(len(said), bool)
    pairs = list(zip(said, truth, strict=True))
    assert share([name in one.prediction_set for one, name in pairs], everywhere) > 0.86
    stands = np.array([one.outcome in CLASSES for one in said])
    assert stands.mean() > 0.3
    wrong = np.array([one.label != name for one, name in pairs])
    assert share(wrong.tolist(), stands) < 0.1
    for finding in ("cyst", "tumor"):
        has = np.array([name == finding for name in truth])
        assert share([finding in one.prediction_set for one in said], has) > 0.86
        assert share([finding in one.suspected for one in said], has) > 0.83
        assert share((stands & wrong).tolist(), has) < 0.06  # missed alone


def test_what_may_stand_is_what_decide_lets_stand():
    rules = dataclasses.replace(fitted(), review_below=0.0, ood_above=None)
    _, probabilities, _ = simulated(np.random.default_rng(3), 100)
    expected = [decide(row, CLASSES, rules).outcome in CLASSES for row in probabilities]
    found = unambiguous(probabilities, CLASSES, rules.suspect_from, rules.set_from)
    assert found.tolist() == expected
    assert 0 < found.sum() < len(found)


def test_rules_are_json():
    rules = fitted(ood_scores=None)
    assert Rules(**json.loads(json.dumps(asdict(rules), allow_nan=False))) == rules
    assert set(rules.suspect_from) == {"cyst", "tumor"}
    assert set(rules.set_from) == set(CLASSES)
    assert rules.ood_above is None


def test_few_scans_promise_little():
    rules = fitted(scans=4)
    assert 0.0 in rules.set_from.values()
    assert rules.review_below == ACCEPT_NOTHING


def test_a_finding_without_validation_scans_is_always_suspected():
    labels, probabilities, names = simulated(np.random.default_rng(0), 30)
    no_tumor = labels != 2
    rules = fit_rules(
        labels[no_tumor], probabilities[no_tumor], names[no_tumor], None, CLASSES, **ASKED
    )
    assert rules.suspect_from["tumor"] == 0.0
    assert rules.suspect_from["cyst"] > 0.0


def test_the_ood_threshold_accepts_enough_of_every_class():
    labels, _, names = simulated(np.random.default_rng(0), 60)
    scores = np.random.default_rng(2).normal(size=len(labels)) + (labels == 2)
    above = fitted(ood_scores=scores).ood_above
    assert above is not None
    for label in range(3):
        own = labels == label
        weights = group_weights(names[own])
        assert np.average(scores[own] <= above, weights=weights) >= 0.95 - 1e-9


def scores(
    generator: np.random.Generator, scans: int, alike: float
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of the slices of scans that have a finding, and their scans."""
    scan_of = np.repeat(np.arange(scans), generator.integers(1, 25, scans))
    common = generator.normal(size=scans)[scan_of]
    own = generator.normal(size=len(scan_of))
    logits = np.sqrt(alike) * common + np.sqrt(1 - alike) * own
    return 1 / (1 + np.exp(-logits)), np.array([f"scan-{number:03d}" for number in scan_of])


@pytest.mark.parametrize("scans", [6, 10, 30])
@pytest.mark.parametrize("alike", [0.2, 0.6])
def test_fresh_scans_are_found_as_often_as_stated(scans: int, alike: float):
    generator = np.random.default_rng(0)
    fresh, fresh_scans = scores(generator, 400, alike)
    weights = group_weights(fresh_scans)
    found = []
    for _ in range(100):
        probabilities, names = scores(generator, scans, alike)
        threshold = operating_point(probabilities, names, 0.9)
        found.append(np.average(fresh >= threshold, weights=weights))
    assert np.mean(found) == pytest.approx(0.9, abs=0.03)


def test_the_plain_quantile_would_miss_more():
    generator = np.random.default_rng(0)
    fresh, _ = scores(generator, 400, 0.8)
    ours, plain = [], []
    for _ in range(100):
        probabilities, names = scores(generator, 6, 0.8)
        ours.append(sensitivity_of(fresh, operating_point(probabilities, names, 0.9)))
        plain.append(sensitivity_of(fresh, np.quantile(probabilities, 0.1)))
    assert np.mean(plain) < 0.87 < np.mean(ours)


def test_a_class_of_scans_that_never_agree_is_always_suspected():
    names = np.repeat(["a", "b", "c"], 5)
    assert operating_point(np.repeat([0.1, 0.5, 0.9], 5), names, 0.9) == 0.0
    assert operating_point(np.repeat([0.5, 0.5, 0.5], 5), names, 0.9) == 0.5


@pytest.mark.parametrize("count", [0, 7])
def test_one_scan_says_nothing_of_the_next(count: int):
    assert operating_point(np.full(count, 0.8), np.full(count, "only"), 0.9) == 0.0


@given(SEEDS, st.integers(2, 15))
@settings(max_examples=25, deadline=None)
def test_it_finds_at_least_the_stated_share_of_its_own_scans(seed: int, scans: int):
    probabilities, names = scores(np.random.default_rng(seed), scans, 0.6)
    found = probabilities >= operating_point(probabilities, names, 0.9)
    assert np.average(found, weights=group_weights(names)) >= 0.9 - 1e-9


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_neither_order_nor_copies_of_slices_change_it(seed: int):
    generator = np.random.default_rng(seed)
    probabilities, names = scores(generator, 8, 0.6)
    threshold = operating_point(probabilities, names, 0.9)
    rows = generator.permutation(len(names))
    assert operating_point(probabilities[rows], names[rows], 0.9) == threshold
    one = names == names[0]
    copies = np.concatenate([np.arange(len(names)), *(np.flatnonzero(one),) * 3])
    assert operating_point(probabilities[copies], names[copies], 0.9) == threshold


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_more_sensitivity_costs_specificity(seed: int):
    probabilities, names = scores(np.random.default_rng(seed), 12, 0.4)
    thresholds = [operating_point(probabilities, names, s) for s in (0.6, 0.75, 0.9, 0.97)]
    others = probabilities * 0.8
    specificities = [specificity_of(others, threshold) for threshold in thresholds]
    assert specificities == sorted(specificities, reverse=True)


def own(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    return probabilities[np.arange(len(labels)), labels]


@pytest.mark.parametrize(
    ("scans", "alike", "coverage"), [(20, 0.9, 0.9), (20, 0.1, 0.9), (60, 0.9, 0.8)]
)
def test_a_slice_of_a_new_scan_is_covered_as_often_as_stated(scans, alike, coverage):
    generator = np.random.default_rng(0)
    covered = []
    for _ in range(300):
        labels, probabilities, names = simulated(generator, scans + 20, alike=alike)
        old = names < f"scan-{scans:04d}"
        threshold = set_threshold(own(labels, probabilities)[old], names[old], coverage)
        hit = own(labels, probabilities)[~old] >= threshold
        covered.append(np.average(hit, weights=group_weights(names[~old])))
    error = 3 * np.std(covered) / np.sqrt(len(covered))
    assert np.mean(covered) >= coverage - error
    assert np.mean(covered) <= coverage + 2 / scans + error


def test_slices_as_the_unit_would_promise_too_much():
    """One long scan after another: the pooled quantile of slices is what the long ones say."""
    generator = np.random.default_rng(1)
    pooled, by_scan = [], []
    for _ in range(300):
        level = generator.normal(size=40)
        slices = np.where(level > 0.5, 40, 1)  # easy scans are long
        scan_of = np.repeat(np.arange(40), slices)
        values = 1 / (1 + np.exp(-level[scan_of]))
        names = np.array([f"s{n:02d}" for n in scan_of])
        old = scan_of < 20
        weights = group_weights(names[~old])
        for threshold, list_ in (
            (np.quantile(values[old], 0.1), pooled),
            (set_threshold(values[old], names[old], 0.9), by_scan),
        ):
            list_.append(np.average(values[~old] >= threshold, weights=weights))
    assert np.mean(by_scan) > 0.89
    assert np.mean(pooled) < 0.6


@pytest.mark.parametrize(("scans", "all_classes"), [(8, True), (9, False)])
def test_too_few_scans_leave_every_class_possible(scans: int, all_classes: bool):
    labels, probabilities, names = simulated(np.random.default_rng(0), scans)
    threshold = set_threshold(own(labels, probabilities), names, 0.9)
    assert (threshold == 0) == all_classes


@given(SEEDS, st.integers(1, 40), st.floats(0.5, 0.95))
@settings(max_examples=40, deadline=None)
def test_it_is_the_highest_threshold_that_keeps_enough(seed: int, scans: int, coverage: float):
    labels, probabilities, names = simulated(np.random.default_rng(seed), scans)
    values = own(labels, probabilities)
    threshold = set_threshold(values, names, coverage)
    weights = group_weights(names)
    wanted = coverage * (scans + 1)
    if threshold > 0:
        assert weights[values >= threshold].sum() >= wanted - 1e-6
        assert weights[values > threshold].sum() < wanted
    else:
        assert scans < wanted


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_neither_order_nor_copies_of_slices_change_a_set(seed: int):
    generator = np.random.default_rng(seed)
    labels, probabilities, names = simulated(generator, 30)
    values = own(labels, probabilities)
    threshold = set_threshold(values, names, 0.9)
    rows = generator.permutation(len(values))
    assert set_threshold(values[rows], names[rows], 0.9) == threshold
    twice = np.concatenate([rows, rows])  # every scan twice as long
    assert set_threshold(values[twice], names[twice], 0.9) == threshold


def test_a_higher_coverage_needs_lower_thresholds():
    labels, probabilities, names = simulated(np.random.default_rng(0), 30)
    values = own(labels, probabilities)
    found = [set_threshold(values, names, coverage) for coverage in (0.6, 0.8, 0.9, 0.96)]
    assert found == sorted(found, reverse=True)


def test_coverage_is_counted():
    sets = np.array([[True, False], [True, True], [False, True]])
    assert set_coverage(sets, np.array([0, 1, 0])) == pytest.approx(2 / 3)
    assert np.isnan(set_coverage(sets[:0], np.array([], dtype=int)))


def tied(seed: int, count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Confidences with many ties, and errors."""
    generator = np.random.default_rng(seed)
    return generator.integers(4, 11, count) / 10, generator.random(count) < 0.3


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_the_curve_is_what_counting_gives(seed: int):
    confidence, wrong = tied(seed)
    for threshold, coverage, risk in zip(*risk_coverage(confidence, wrong), strict=True):
        accepted = confidence >= threshold
        assert coverage == pytest.approx(accepted.mean())
        assert risk == pytest.approx(wrong[accepted].mean())


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_coverage_rises_to_all_where_the_risk_is_the_error_rate(seed: int):
    confidence, wrong = tied(seed)
    thresholds, coverage, risk = risk_coverage(confidence, wrong)
    assert (np.diff(coverage) > 0).all()
    assert (np.diff(thresholds) < 0).all()
    assert coverage[-1] == pytest.approx(1)
    assert risk[-1] == pytest.approx(wrong.mean())


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_only_the_order_of_the_confidence_counts(seed: int):
    confidence, wrong = tied(seed)
    area = area_under_risk_coverage(confidence, wrong)
    assert area_under_risk_coverage(confidence**3, wrong) == pytest.approx(area)
    rows = np.random.default_rng(seed).permutation(len(wrong))
    assert area_under_risk_coverage(confidence[rows], wrong[rows]) == pytest.approx(area)


def test_without_ties_the_area_is_the_mean_of_the_risks():
    generator = np.random.default_rng(0)
    confidence, wrong = generator.random(50), generator.random(50) < 0.4
    ordered = wrong[np.argsort(-confidence)]
    mean = np.mean(np.cumsum(ordered) / np.arange(1, 51))
    assert area_under_risk_coverage(confidence, wrong) == pytest.approx(mean)


def test_the_best_order_has_the_least_area_and_no_order_the_error_rate():
    wrong = np.arange(10) >= 7
    best = area_under_risk_coverage(-np.arange(10.0), wrong)
    worst = area_under_risk_coverage(np.arange(10.0), wrong)
    assert area_under_risk_coverage(np.zeros(10), wrong) == pytest.approx(0.3)
    assert best < 0.3 < worst


def test_a_quantile_for_each_class_covers_each_class():
    """One quantile for all lets the frequent and easy class pay for the rare and hard one."""
    generator = np.random.default_rng(0)
    by_class, for_all = [], []
    for _ in range(200):
        easy = 1 / (1 + np.exp(-generator.normal(2.0, 1, (80, 6))))
        hard = 1 / (1 + np.exp(-generator.normal(0.0, 1, (24, 6))))
        names = np.repeat([f"p{number:03d}" for number in range(104)], 6)
        own, is_hard = np.concatenate([easy, hard]).ravel(), np.arange(104 * 6) >= 480
        old = np.repeat(np.arange(104) % 2 == 0, 6)
        pooled = set_threshold(own[old], names[old], 0.9)
        of_hard = class_set_threshold(own[old & is_hard], names[old & is_hard], 0.9)
        for_all.append((own[~old & is_hard] >= pooled).mean())
        by_class.append((own[~old & is_hard] >= of_hard).mean())
    assert np.mean(for_all) < 0.8
    assert 0.9 <= np.mean(by_class) < 0.98


@pytest.mark.parametrize("patients", [5, 8])
def test_with_few_patients_a_class_is_covered_on_average_and_not_in_every_set(patients: int):
    generator = np.random.default_rng(0)
    fresh, covered, always = 1 / (1 + np.exp(-generator.normal(1, 1, 4000))), [], []
    for _ in range(100):
        own = 1 / (1 + np.exp(-generator.normal(1, 1, (patients, 8))))
        names = np.repeat([f"p{number}" for number in range(patients)], 8)
        assert set_threshold(own.ravel(), names, 0.9) == 0.0
        threshold = class_set_threshold(own.ravel(), names, 0.9)
        covered.append((fresh >= threshold).mean())
        always.append(threshold == 0)
    assert np.mean(covered) == pytest.approx(0.91, abs=0.03)
    assert np.mean(always) < 0.2


@pytest.mark.parametrize("alike", [0.2, 0.9])
def test_answers_that_stand_keep_the_risk_as_often_as_stated(alike: float):
    generator = np.random.default_rng(0)
    labels, probabilities, names = simulated(generator, 3000, skill=2.5, alike=alike)
    confidence, wrong = probabilities.max(axis=1), probabilities.argmax(axis=1) != labels
    weights = group_weights(names)
    broken, accepted = [], []
    for _ in range(100):
        labels, probabilities, some = simulated(generator, 60, skill=2.5, alike=alike)
        threshold = review_threshold(
            probabilities.max(axis=1), probabilities.argmax(axis=1) != labels, some, 0.1
        )
        stands = weights * (confidence >= threshold)
        broken.append(stands.sum() > 0 and (stands * wrong).sum() / stands.sum() > 0.1)
        accepted.append(stands.sum() / 3000)
    assert np.mean(broken) <= 0.2 + 3 * np.sqrt(0.2 * 0.8 / 100)
    assert np.mean(accepted) > 0.3  # and does not get there by accepting nothing


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_what_stands_on_the_validation_slices_keeps_the_risk(seed: int):
    labels, probabilities, names = simulated(np.random.default_rng(seed), 60, skill=3.0)
    confidence, wrong = probabilities.max(axis=1), probabilities.argmax(axis=1) != labels
    threshold = review_threshold(confidence, wrong, names, 0.15)
    weights = group_weights(names) * (confidence >= threshold)
    assert (weights * wrong).sum() <= 0.15 * weights.sum()
    rows = np.random.default_rng(seed).permutation(len(names))
    assert review_threshold(confidence[rows], wrong[rows], names[rows], 0.15) == threshold


def test_a_risk_that_cannot_be_kept_lets_nothing_stand():
    confidence = np.linspace(0.5, 1.0, 60)
    names = np.array([f"p{number:02d}" for number in range(60)])
    right = np.zeros(60, bool)
    assert review_threshold(confidence, ~right, names, 0.1) == ACCEPT_NOTHING
    assert review_threshold(confidence, right, names, 0.1) == 0.5
    assert review_threshold(confidence[:10], right[:10], names[:10], 0.1) == ACCEPT_NOTHING
    # What may not stand at all is passed over, right or wrong.
    other = np.append(confidence, np.full(9, -1.0))
    more = np.append(names, [f"q{number}" for number in range(9)])
    assert review_threshold(other, np.append(right, np.ones(9, bool)), more, 0.1) == 0.5


@given(SEEDS)
@settings(max_examples=50, deadline=None)
def test_more_errors_make_the_p_value_higher(seed: int):
    generator = np.random.default_rng(seed)
    accepted = generator.random(30)
    wrong = accepted * (generator.random(30) < 0.1)
    fewer, more = wrong - 0.15 * accepted, np.minimum(wrong + 0.1, accepted) - 0.15 * accepted
    assert 0 < risk_p_value(fewer, 0.15) <= risk_p_value(more, 0.15) <= 1
    assert risk_p_value(np.append(fewer, np.zeros(50)), 0.15) == pytest.approx(
        risk_p_value(fewer, 0.15)
    )


def test_the_p_value_is_small_by_chance_as_seldom_as_it_says():
    generator = np.random.default_rng(0)
    p_values = []
    for _ in range(1000):
        rates = generator.beta(0.3, 1.7, 30)  # patients who differ, wrong in 15 % on average
        p_values.append(risk_p_value(generator.binomial(8, rates) / 8 - 0.15, 0.15))
    assert (np.array(p_values) <= 0.2).mean() <= 0.2


def test_the_threshold_of_a_series_finds_new_series_as_often_as_stated():
    generator = np.random.default_rng(0)
    found = []
    for _ in range(200):
        scores = np.concatenate([generator.beta(5, 2, 12), generator.beta(2, 5, 20)])
        fit = fit_series_threshold(scores, np.arange(32) < 12, 0.9)
        assert fit.sensitivity >= 0.9
        assert (fit.with_finding, fit.without) == (12, 20)
        found.append((generator.beta(5, 2, 500) >= fit.threshold).mean())
    assert 0.89 <= np.mean(found) <= 0.98


def test_series_without_the_finding_set_the_margin():
    positives = np.linspace(0.6, 0.9, 12)
    far = fit_series_threshold(np.append(positives, [0.2, 0.3]), np.arange(14) < 12, 0.9)
    assert far.threshold == pytest.approx((0.6 + 0.3) / 2)
    assert (far.sensitivity, far.specificity) == (1.0, 1.0)
    alone = fit_series_threshold(positives, np.ones(12, bool), 0.9)
    assert alone.threshold == 0.6
    assert np.isnan(alone.specificity)
    few = fit_series_threshold(np.append(positives[:4], 0.1), np.arange(5) < 4, 0.9)
    assert few.threshold == 0.0
