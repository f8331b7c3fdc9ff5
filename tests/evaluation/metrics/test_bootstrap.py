import numpy as np
import pytest

from kidney.evaluation.metrics.bootstrap import Interval, intervals_over_scans
from kidney.evaluation.metrics.classification import figures

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
    return intervals_over_scans(of_rows, names, np.repeat(LABELS, repeated), **options)["accuracy"]


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


def test_the_same_seed_gives_the_same_interval_and_another_does_not():
    assert accuracy(3, seed=1) == accuracy(3, seed=1)
    few = [accuracy(3, repeats=25, seed=seed) for seed in range(4)]
    assert len({(interval["low"], interval["high"]) for interval in few}) > 1


def test_every_resample_holds_every_class_and_whole_scans():
    labels = np.repeat([0, 0, 0, 0, 1], 3)
    scans = np.repeat(["a", "b", "c", "d", "e"], 3)
    seen = []

    def of_rows(rows: np.ndarray) -> dict[str, float]:
        seen.append(rows)
        return {"x": 0.0}

    intervals_over_scans(of_rows, scans, labels, repeats=50)
    assert len(seen) == 51
    for rows in seen:
        assert np.bincount(labels[rows]).tolist() == [12, 3]
        assert all(len(rows[rows // 3 == scan]) % 3 == 0 for scan in range(5))
    assert len({tuple(rows) for rows in seen}) > 10


def test_a_figure_that_is_not_defined_has_neither_value_nor_interval():
    labels = np.zeros(6, dtype=np.int64)
    probabilities = np.tile([0.6, 0.4], (6, 1))
    scans = np.array(["a", "a", "b", "b", "c", "c"])
    result = intervals_over_scans(
        lambda rows: figures(labels[rows], probabilities[rows], ("normal", "tumor")),
        scans, labels, repeats=20,
    )  # fmt: skip
    assert result["macro_auroc"] == {"value": None, "low": None, "high": None}
    assert result["recall_tumor"]["value"] is None
    assert result["accuracy"] == {"value": 1.0, "low": 1.0, "high": 1.0}
