"""The slices that are shown are the worst ones, each with the evidence of its own answer."""

import numpy as np

from kidney.artifact.overlay import evidence_overlay
from kidney.evaluation.report.examples import worst_examples
from tests.helpers.evaluation_results import CLASSES, predictions_of, result_of

PREDICTIONS = predictions_of()
RESULT = result_of(PREDICTIONS)


def test_the_worst_slice_of_each_of_the_worst_scans_is_chosen():
    nothing = np.zeros((4, 2, 2), np.float32)
    examples = worst_examples(
        RESULT,
        PREDICTIONS,
        lambda _: np.zeros((9, 9), np.uint8),
        lambda *_: (nothing, (0, 0, 9, 9)),
    )
    chosen = PREDICTIONS.iloc[[example.row for example in examples]]
    assert list(chosen["scan"]) == [scan.scan for scan in RESULT.scans_ranked[:12]]
    own = np.array([row[row["label"]] for _, row in PREDICTIONS.iterrows()])
    for example in examples:
        of_scan = PREDICTIONS["scan"] == PREDICTIONS["scan"].iloc[example.row]
        assert own[example.row] == own[of_scan].min()


def test_an_overlay_shows_the_evidence_of_the_most_probable_class_where_it_lies():
    evidence = np.zeros((4, 2, 2), np.float32)
    region = (5, 0, 25, 20)

    def explain(row: int, slice_: np.ndarray):
        assert slice_.shape == (30, 20)
        shown = evidence.copy()
        shown[row % 4] = 1.0
        return shown, region

    examples = worst_examples(
        RESULT, PREDICTIONS, lambda row: np.full((30, 20), row, np.uint8), explain
    )
    for example in examples:
        best = int(PREDICTIONS[list(CLASSES)].iloc[example.row].to_numpy(float).argmax())
        assert (example.slice == example.row).all()
        strength = evidence[0] + (best == example.row % 4)
        expected = evidence_overlay(example.slice, strength, 1.0, region=region)
        np.testing.assert_array_equal(example.overlay, expected)
    assert any((e.overlay.max(axis=2) != e.overlay.min(axis=2)).any() for e in examples)
