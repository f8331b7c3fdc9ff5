import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kidney.artifact.decision import Decision
from kidney.artifact.predictor import Prediction
from kidney.export.convert import Agreement, agreement, peaks_kept

CLASSES = ("normal", "tumor")


def prediction(
    tumor: float, row: int = 2, column: int = 2, other: tuple[int, int] = (0, 0)
) -> Prediction:
    """A prediction whose evidence for tumor peaks at a cell, and for normal at another."""
    evidence = np.zeros((2, 6, 6), dtype=np.float32)
    evidence[1, row, column] = evidence[0, *other] = 1
    probabilities = np.array([1 - tumor, tumor], dtype=np.float32)
    decision = Decision("tumor", tumor, "tumor", ("tumor",), ())  # is not compared
    return Prediction(probabilities, np.log(probabilities), evidence, None, None, decision)


@given(st.integers(0, 5), st.integers(0, 5))
def test_a_peak_may_move_to_a_neighbour_and_no_further(row: int, column: int):
    near = max(abs(row - 2), abs(column - 3)) <= 1
    assert peaks_kept([prediction(0.9, 2, 3)], [prediction(0.9, row, column)]) == float(near)


def test_the_peak_is_that_of_the_class_which_the_original_finds_most_probable():
    elsewhere = prediction(0.9, other=(5, 5))  # only the evidence for normal has moved
    assert peaks_kept([prediction(0.9)], [elsewhere]) == 1
    assert peaks_kept([prediction(0.1)], [elsewhere]) == 0


def test_auroc_lost_and_changed_classes_are_counted():
    labels = np.array([0, 0, 1, 1])
    before = [prediction(p) for p in (0.1, 0.2, 0.8, 0.9)]
    after = [prediction(p) for p in (0.1, 0.7, 0.6, 0.9)]
    found = agreement(before, after, labels, CLASSES)
    assert (found.auroc, found.auroc_lost) == pytest.approx((0.75, 0.25))
    assert found.same_class == 0.75
    assert found.largest_change == pytest.approx(0.5)
    assert found.peaks_kept == 1


@pytest.mark.parametrize(
    ("lost", "kept", "message"),
    [
        (0.002, 0.95, ""),
        (-0.1, 1.0, ""),
        (0.0021, 0.95, "falls by 0.0021"),
        (0.0, 0.949, "94.9%"),
        (float("nan"), 1.0, "AUROC"),
        (0.5, 0.5, "and"),
    ],
)
def test_a_limit_that_is_missed_is_named_with_its_figure(lost: float, kept: float, message: str):
    missed = Agreement(0.9, lost, kept, 1.0, 0.0).violations()
    assert message in missed
    assert bool(message) == bool(missed)
