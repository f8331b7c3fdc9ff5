"""The slices that are shown are the worst ones, each with the evidence of its own answer."""

import numpy as np

from kidney.artifact.overlay import evidence_overlay
from kidney.evaluation.report.examples import worst_examples, worst_rows
from tests.helpers.evaluation_results import CLASSES, result_of, said_of

SAID = said_of()
RESULT = result_of(SAID)


def test_the_worst_slice_of_each_of_the_worst_scans_is_chosen():
    rows = worst_rows(RESULT, most=5)
    chosen = SAID.iloc[rows]
    assert list(chosen["scan"]) == [scan["scan"] for scan in RESULT["scans_ranked"][:5]]
    own = np.array([row[row["label"]] for _, row in SAID.iterrows()])
    for row in rows:
        of_scan = SAID["scan"] == SAID["scan"].iloc[row]
        assert own[row] == own[of_scan].min()
    assert len(worst_rows(RESULT)) == 12
    few = result_of(SAID[SAID["scan"] < "scan-03"].reset_index(drop=True))
    assert len(worst_rows(few)) == 3


def test_an_overlay_shows_the_evidence_of_the_most_probable_class_where_it_lies():
    evidence = np.zeros((4, 2, 2), np.float32)
    region = (5, 0, 25, 20)

    def explain(row: int, slice_: np.ndarray):
        assert slice_.shape == (30, 20)
        shown = evidence.copy()
        shown[row % 4] = 1.0
        return shown, region

    examples = worst_examples(RESULT, SAID, lambda row: np.full((30, 20), row, np.uint8), explain)
    assert [example.row for example in examples] == worst_rows(RESULT)
    for example in examples:
        told = int(SAID[list(CLASSES)].iloc[example.row].to_numpy(float).argmax())
        assert (example.slice == example.row).all()
        strength = evidence[0] + (told == example.row % 4)
        expected = evidence_overlay(example.slice, strength, 1.0, region=region)
        np.testing.assert_array_equal(example.overlay, expected)
    assert any((e.overlay.max(axis=2) != e.overlay.min(axis=2)).any() for e in examples)
