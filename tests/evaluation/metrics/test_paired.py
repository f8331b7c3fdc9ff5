import numpy as np
import pytest
from scipy.stats import norm

from kidney.evaluation.metrics.bootstrap import intervals_over_scans
from kidney.evaluation.metrics.paired import paired_differences

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
    single = intervals_over_scans(lambda rows: {"mean": float(hard[rows].mean())}, names(), LABELS)
    assert paired["high"] - paired["low"] < 0.1 * (single["mean"]["high"] - single["mean"]["low"])
    assert paired["low"] > 0


def test_the_interval_has_the_width_of_the_paired_test_of_theory():
    generator = np.random.default_rng(1)
    before, after = generator.normal(0, 1, (2, PATIENTS))
    one_class = np.zeros(PATIENTS, dtype=np.int64)
    found = paired_differences(mean, before, after, one_class, names())["mean"]
    expected = 2 * norm.ppf(0.975) * (after - before).std() / np.sqrt(PATIENTS)
    assert found["high"] - found["low"] == pytest.approx(expected, rel=0.1)


def test_more_slices_of_the_same_patients_make_nothing_more_certain():
    generator = np.random.default_rng(2)
    before, after = generator.normal(0, 1, (2, PATIENTS))
    few = paired_differences(mean, before, after, LABELS, names())["mean"]
    many = paired_differences(
        mean, np.repeat(before, 9), np.repeat(after, 9), np.repeat(LABELS, 9), names(9)
    )["mean"]
    assert many == pytest.approx(few)


def test_every_resample_is_put_to_both_models():
    asked = []

    def figures(labels: np.ndarray, answers: np.ndarray) -> dict[str, float]:
        asked.append((labels.tolist(), answers.tolist()))
        return {"x": 0.0}

    rows = np.arange(PATIENTS)
    paired_differences(figures, rows, rows + 1000, LABELS, names(), repeats=20)
    assert len(asked) == 42
    for was, now in zip(asked[::2], asked[1::2], strict=True):
        assert was[0] == now[0]
        assert [row + 1000 for row in was[1]] == now[1]


def test_a_figure_that_one_model_has_not_is_no_difference():
    nothing = paired_differences(
        mean, np.full(PATIENTS, np.nan), np.zeros(PATIENTS), LABELS, names(), repeats=5
    )
    assert nothing["mean"] == {"value": None, "low": None, "high": None}
