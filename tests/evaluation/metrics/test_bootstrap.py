import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import binom, norm

from kidney.evaluation.metrics.bootstrap import (
    Interval,
    exact_interval,
    over_assignments,
    paired_differences,
    patient_intervals,
    permutation_p_value,
)
from kidney.evaluation.metrics.classification import auroc, figures

SCANS = 24
RIGHT = np.arange(SCANS) % 3 > 0  # two thirds of the scans are called right
LABELS = np.arange(SCANS) // (SCANS // 2)


def accuracy(repeated: int, unit: str = "scan", **options: int) -> Interval:
    """The interval when every scan has `repeated` equal slices."""
    right = np.repeat(RIGHT, repeated)
    scans = np.repeat(np.arange(SCANS), repeated)
    units = scans if unit == "scan" else np.arange(len(scans))

    def of_rows(rows: np.ndarray) -> dict[str, float]:
        return {"accuracy": float(right[rows].mean())}

    names = np.array([f"s{number:04d}" for number in units])
    return patient_intervals(of_rows, names, np.repeat(LABELS, repeated), **options)["accuracy"]


def width(interval: Interval) -> float:
    assert interval["low"] is not None
    assert interval["high"] is not None
    return interval["high"] - interval["low"]


def test_the_interval_holds_the_value_and_has_the_width_of_theory():
    interval = accuracy(1)
    assert interval["value"] == pytest.approx(2 / 3)
    assert interval["low"] < interval["value"] < interval["high"]
    share = 2 / 3
    assert width(interval) == pytest.approx(
        2 * 1.96 * np.sqrt(share * (1 - share) / SCANS), rel=0.25
    )


def test_more_slices_of_the_same_scans_make_nothing_more_certain():
    assert width(accuracy(20)) == pytest.approx(width(accuracy(1)))
    # Slices as the unit would claim much more.
    assert width(accuracy(20, unit="slice")) < 0.4 * width(accuracy(1))


def losses(**options: int) -> Interval:
    values = np.linspace(0, 3, SCANS) ** 2
    names = np.array([f"s{number:04d}" for number in range(SCANS)])
    return patient_intervals(
        lambda rows: {"loss": float(values[rows].mean())}, names, LABELS, **options
    )["loss"]


def test_the_same_seed_gives_the_same_interval_and_another_does_not():
    assert losses(seed=1) == losses(seed=1)
    few = [losses(repeats=25, seed=seed) for seed in range(4)]
    assert len({(interval["low"], interval["high"]) for interval in few}) > 1


def test_every_resample_holds_every_class_and_whole_patients():
    labels = np.repeat([0, 0, 0, 0, 1], 3)
    patients = np.repeat(["a", "b", "c", "d", "e"], 3)
    seen = []

    def of_rows(rows: np.ndarray) -> dict[str, float]:
        seen.append(rows)
        return {"loss": 0.0}

    patient_intervals(of_rows, patients, labels, repeats=50)
    resamples = seen[-50:]
    for rows in resamples:
        assert np.bincount(labels[rows]).tolist() == [12, 3]
        assert all(len(rows[rows // 3 == patient]) % 3 == 0 for patient in range(5))
    assert len({tuple(rows) for rows in resamples}) > 10


@pytest.mark.parametrize(("mean", "spread"), [(0.5, 1.0), (1.5, 1.5), (2.5, 1.5), (3.0, 1.0)])
def test_twelve_patients_are_covered_as_often_as_stated(mean: float, spread: float):
    """Patients differ in their recall; the percentile bootstrap covers 0.84 to 0.92 here."""
    generator = np.random.default_rng(0)
    truth = expit(mean + spread * generator.normal(size=400_000)).mean()
    patients = np.array([f"p{number:02d}" for number in range(12)])
    covered = []
    for _ in range(1000):
        recall = expit(mean + spread * generator.normal(size=12))
        recalls = generator.binomial(20, recall) / 20
        found = patient_intervals(
            lambda rows, of=recalls: {"recall": float(of[rows].mean())},
            patients,
            np.zeros(12, dtype=np.int64),
        )["recall"]
        covered.append(found["low"] <= truth <= found["high"])
    assert 0.92 <= np.mean(covered) <= 0.98


def test_the_area_of_few_patients_is_covered_as_often_as_stated():
    generator = np.random.default_rng(1)
    truth = norm.cdf(1.2 / np.sqrt(2))
    labels = np.repeat([0, 1], [20, 8])
    patients = np.array([f"p{number:02d}" for number in range(28)])
    covered = []
    for _ in range(300):
        score = generator.normal(size=28) + 1.2 * labels
        found = patient_intervals(
            lambda rows, of=score: {"auroc": auroc(labels[rows] == 1, of[rows])}, patients, labels
        )["auroc"]
        covered.append(found["low"] <= truth <= found["high"])
    assert 0.92 <= np.mean(covered) <= 0.985


def recall_of(patients: int, right: float = 1.0) -> Interval:
    """The recall of tumour where `patients` of 20 have one."""
    labels = np.repeat(np.arange(20) < patients, 3).astype(np.int64)
    names = np.repeat([f"p{number:02d}" for number in range(20)], 3)

    def of_rows(rows: np.ndarray) -> dict[str, float]:
        tumours = (labels[rows] == 1).sum()
        return {"recall_tumor": right if tumours else float("nan")}

    return patient_intervals(of_rows, names, labels)["recall_tumor"]


def test_where_all_are_right_the_interval_is_exact_and_of_the_patients_who_count():
    assert recall_of(6) == {"value": 1.0, "low": pytest.approx(0.5407, abs=1e-4), "high": 1.0}
    assert recall_of(6, 0.0)["high"] == pytest.approx(1 - 0.5407, abs=1e-4)
    assert recall_of(12)["low"] == pytest.approx(0.025 ** (1 / 12))


def test_fewer_than_five_patients_have_no_interval():
    assert recall_of(4) == {"value": 1.0, "low": None, "high": None}
    assert recall_of(5)["low"] is not None


@pytest.mark.parametrize(("tumours", "known"), [(4, False), (5, True)])
def test_an_area_rests_on_the_patients_of_its_rarer_side(tumours: int, known: bool):
    labels = (np.arange(30) < tumours).astype(np.int64)
    score = np.random.default_rng(0).normal(size=30) + labels
    names = np.array([f"p{number:02d}" for number in range(30)])
    found = patient_intervals(
        lambda rows: {"auroc": auroc(labels[rows] == 1, score[rows])}, names, labels
    )["auroc"]
    assert (found["low"] is not None) is known
    perfect = patient_intervals(
        lambda rows: {"auroc": auroc(labels[rows] == 1, labels[rows])}, names, labels
    )["auroc"]
    assert (perfect["low"] is not None) is known
    assert not known or perfect["low"] == pytest.approx(0.025 ** (1 / tumours))


@given(st.integers(1, 40), st.data())
@settings(max_examples=30, deadline=None)
def test_the_exact_interval_is_where_a_tail_of_the_binomial_is_half_the_rest(trials: int, data):
    hits = data.draw(st.integers(0, trials))
    low, high = exact_interval(hits, trials)
    assert low <= hits / trials <= high
    if hits:
        assert binom.sf(hits - 1, trials, low) == pytest.approx(0.025)
    if hits < trials:
        assert binom.cdf(hits, trials, high) == pytest.approx(0.025)


def test_a_figure_that_is_not_defined_has_neither_value_nor_interval():
    labels = np.zeros(6, dtype=np.int64)
    probabilities = np.tile([0.6, 0.4], (6, 1))
    scans = np.array(["a", "a", "b", "b", "c", "c"])
    result = patient_intervals(
        lambda rows: figures(labels[rows], probabilities[rows], ("normal", "tumor")),
        scans, labels, repeats=20,
    )  # fmt: skip
    assert result["macro_auroc"] == {"value": None, "low": None, "high": None}
    assert result["recall_tumor"]["value"] is None
    assert result["accuracy"] == {"value": 1.0, "low": None, "high": None}


PATIENTS = 40
LABELS = np.arange(PATIENTS) % 4


def mean(_labels: np.ndarray, answers: np.ndarray) -> dict[str, float]:
    return {"mean": float(answers.mean())}


def names(repeated: int = 1) -> np.ndarray:
    return np.repeat([f"p{number:03d}" for number in range(PATIENTS)], repeated)


def test_the_difference_is_that_of_the_figures_and_has_their_sign():
    before, after = np.zeros(PATIENTS), np.linspace(0, 1, PATIENTS)
    up = paired_differences(mean, before, after, LABELS, names())["mean"]
    down = paired_differences(mean, after, before, LABELS, names())["mean"]
    assert up["value"] == pytest.approx(0.5)
    assert 0 < up["low"] < 0.5 < up["high"]
    assert (down["value"], down["low"], down["high"]) == pytest.approx(
        (-up["value"], -up["high"], -up["low"])
    )


def test_what_both_models_share_cancels_out():
    generator = np.random.default_rng(0)
    hard = generator.normal(0, 10, PATIENTS)  # a patient is as hard for one as for the other
    gain = generator.normal(1, 0.5, PATIENTS)
    paired = paired_differences(mean, hard, hard + gain, LABELS, names())["mean"]
    single = patient_intervals(
        lambda rows: {"mean": float(hard[rows].mean())}, names(), LABELS, shares=False
    )
    assert paired["high"] - paired["low"] < 0.1 * (single["mean"]["high"] - single["mean"]["low"])
    assert paired["low"] > 0


def test_the_interval_has_the_width_of_the_paired_test_of_theory():
    generator = np.random.default_rng(1)
    before, after = generator.normal(0, 1, (2, PATIENTS))
    one_class = np.zeros(PATIENTS, dtype=np.int64)
    found = paired_differences(mean, before, after, one_class, names())["mean"]
    expected = 2 * norm.ppf(0.975) * (after - before).std() / np.sqrt(PATIENTS)
    assert found["high"] - found["low"] == pytest.approx(expected, rel=0.1)


def test_every_resample_is_put_to_both_models():
    asked = []

    def figures(labels: np.ndarray, answers: np.ndarray) -> dict[str, float]:
        asked.append((labels.tolist(), answers.tolist()))
        return {"x": 0.0}

    rows = np.arange(PATIENTS)
    paired_differences(figures, rows, rows + 1000, LABELS, names(), repeats=20)
    assert len(asked) == 42 + 4 * PATIENTS + 8  # jackknife: without and with one patient alone
    for was, now in zip(asked[::2], asked[1::2], strict=True):
        assert was[0] == now[0]
        assert [row + 1000 for row in was[1]] == now[1]


def test_a_figure_that_one_model_has_not_is_no_difference():
    nothing = paired_differences(
        mean, np.full(PATIENTS, np.nan), np.zeros(PATIENTS), LABELS, names(), repeats=5
    )
    assert nothing["mean"] == {"value": None, "low": None, "high": None}


def test_the_mean_and_range_over_assignments():
    interval = {"low": None, "high": None}
    spread = over_assignments(
        [
            {"a": {"value": 0.9, **interval}, "b": {"value": None, **interval}},
            {"a": {"value": 0.8, **interval}, "b": {"value": None, **interval}},
            {"a": {"value": 0.7, **interval}, "b": {"value": None, **interval}},
        ]
    )
    assert spread["a"] == {"mean": pytest.approx(0.8), "lowest": 0.7, "highest": 0.9}
    assert spread["b"] == {"mean": None, "lowest": None, "highest": None}


def average(values: np.ndarray) -> float:
    return float(values.mean())


def test_models_that_are_no_better_pass_as_seldom_as_stated():
    generator = np.random.default_rng(0)
    patients = np.repeat([f"p{number:02d}" for number in range(15)], 2)
    passed = []
    for seed in range(400):
        hard = np.repeat(generator.normal(0, 3, 15), 2)
        before, after = hard + generator.normal(size=(2, 30))
        p_value = permutation_p_value(average, before, after, patients, 199, seed)
        passed.append(p_value <= 0.05)
    assert np.mean(passed) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)
    assert np.mean(passed) >= 0.02


def test_a_gain_for_every_patient_is_seen_and_the_same_model_is_not():
    patients = np.array([f"p{number:02d}" for number in range(15)])
    before = np.random.default_rng(0).normal(0, 3, 15)
    assert permutation_p_value(average, before, before + 0.1, patients, 999) == pytest.approx(
        1 / 1000
    )
    assert permutation_p_value(average, before, before, patients, 99) == 1.0
    assert np.isnan(permutation_p_value(average, before * np.nan, before, patients, 9))


def test_slices_of_a_patient_are_swapped_together():
    """Two patients of a thousand slices are two observations: nothing below 1/4 can be seen."""
    patients = np.repeat(["a", "b"], 1000)
    before = np.zeros(2000)
    p_value = permutation_p_value(average, before, before + 1.0, patients, 999)
    assert p_value == pytest.approx(0.25, abs=0.05)
