import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import roc_auc_score

from kidney.evaluation.metrics.ood import Scored, ood_figures


def scored(scores: list[float] | np.ndarray, groups: list[str] | None = None) -> Scored:
    names = groups or [f"g{number}" for number in range(len(scores))]
    return Scored(np.asarray(scores, dtype=float), np.array(names))


@given(
    own=arrays(float, 8, elements=st.integers(0, 9).map(float)),
    other=arrays(float, 6, elements=st.integers(0, 9).map(float)),
)
@settings(deadline=None, max_examples=4)
def test_the_area_is_that_of_sklearn_and_inside_its_interval(own: np.ndarray, other: np.ndarray):
    found = ood_figures(scored(own), {"noise": scored(other)}, above=5.0)["auroc_noise"]
    expected = roc_auc_score([0] * 8 + [1] * 6, np.concatenate([own, other]))
    assert found["value"] == pytest.approx(expected)
    assert found["low"] - 1e-9 <= found["value"] <= found["high"] + 1e-9


def test_pictures_that_all_score_higher_are_told_apart_for_certain():
    found = ood_figures(scored([1, 2, 3, 2, 1]), {"flat": scored([4, 5, 4, 5, 4, 5])}, above=3.5)
    exact = {"value": 1.0, "high": 1.0}
    assert found["auroc_flat"] == {"low": pytest.approx(0.025 ** (1 / 5)), **exact}
    assert found["refused_flat"] == {"low": pytest.approx(0.025 ** (1 / 6)), **exact}
    assert found["refused_own"]["value"] == 0.0


def test_a_score_at_the_threshold_is_let_through():
    found = ood_figures(scored([1, 2]), {"flat": scored([2.0, 2.1])}, above=2.0)
    assert found["refused_flat"]["value"] == pytest.approx(0.5)


def test_a_scan_counts_once_however_many_slices_it_has():
    own = scored([9, 1, 1, 1], ["a", "b", "b", "b"])
    assert ood_figures(own, {}, above=5.0)["refused_own"]["value"] == pytest.approx(0.5)


def test_many_pictures_of_one_source_make_nothing_more_certain():
    scores = np.random.default_rng(0).normal(size=12)

    def width(repeated: int) -> float:
        other = scored(
            np.repeat(scores, repeated), [f"p{k // repeated}" for k in range(12 * repeated)]
        )
        found = ood_figures(scored(np.zeros(5)), {"photograph": other}, above=0.0)
        interval = found["auroc_photograph"]
        return interval["high"] - interval["low"]

    assert width(10) == pytest.approx(width(1), abs=0.02)


def test_a_scan_and_its_inverted_slices_are_drawn_apart():
    # Were they drawn together, one scan would make one group on both sides.
    names = list("abcde")
    own = scored([1, 1, 1, 2, 2], names)
    found = ood_figures(own, {"inverted": scored([1.5] * 5, names)}, above=5.0)["auroc_inverted"]
    assert found["value"] == pytest.approx(0.6)
    assert found["low"] < 0.3
