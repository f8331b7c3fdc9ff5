"""Figures of groups: the values of the evaluation, and what other patients would change."""

import pytest

from kidney.evaluation.metrics.group_figures import SHOWN, group_figures
from tests.helpers.evaluation_results import CLASSES, result_of, said_of

SAID = said_of()
GROUPS = group_figures(SAID, CLASSES, repeats=50)


@pytest.mark.parametrize("name", SHOWN)
def test_values_and_counts_are_those_of_the_evaluation(name: str):
    told = result_of(SAID)["groups"]
    assert [*GROUPS] == [*told]
    for kind, groups in told.items():
        assert [*GROUPS[kind]] == [*groups]
        for value, group in groups.items():
            mine = GROUPS[kind][value]
            assert (mine["scans"], mine["slices"]) == (group["scans"], group["slices"])
            assert mine["figures"][name]["value"] == group["figures"][name]


def test_an_interval_holds_its_value_and_has_a_width():
    figure = GROUPS["phase"]["plain"]["figures"]["accuracy"]
    assert figure["low"] < figure["value"] < figure["high"]


def test_a_group_of_one_patient_has_no_interval():
    one = SAID[SAID["patient"] == SAID["patient"].iloc[0]]
    figure = group_figures(one, CLASSES, repeats=50)["view"]["axial"]["figures"]["accuracy"]
    assert figure["value"] is not None
    assert (figure["low"], figure["high"]) == (None, None)
