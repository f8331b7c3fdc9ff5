"""Validation finds what is wrong with a set and its split, and says so in numbers."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from kidney.data.manifest import REJECTED_COLUMNS
from kidney.data.validation.checks import (
    ClassCount,
    Finding,
    Summary,
    findings,
    split_findings,
    summary,
)
from kidney.data.validation.confounders import confounders
from kidney.data.validation.leakage import Leakage, Pair
from tests.helpers.data_slices import manifest_of

LIMITS = {
    "max_rejected_share": 0.1, "max_label_conflicts": 0, "min_slices_a_class": 4,
    "max_leakage": 0.02, "max_confounding": 0.9,
}  # fmt: skip
GOOD = manifest_of({"cyst": [2, 3], "stone": [2, 2]})
TITLES = ["files that are no usable slices", "one picture under several labels",
          "exact duplicates", "near duplicates across labels", "enough of cyst",
          "enough of stone"]  # fmt: skip


def found_in(
    slices: pd.DataFrame, refused: int = 0, pairs: tuple[Pair, ...] = (), **limits: float
) -> dict[str, Finding]:
    rows = [(f"Cyst/{n}.png", f"Cyst/{n}.png is empty (0 bytes).", "") for n in range(refused)]
    rows += [("localizer", "A localizer.", "yes")] * 5
    rejected = pd.DataFrame(rows, columns=REJECTED_COLUMNS)
    biases = confounders(slices)
    found = findings(slices, rejected, pairs, biases, ["cyst", "stone"], LIMITS | limits, folds=2)
    return {finding.check: finding for finding in found}


def test_a_good_set_passes_every_check() -> None:
    found = found_in(GOOD)
    assert list(found) == TITLES
    assert {finding.level for finding in found.values()} == {"ok"}


@pytest.mark.parametrize(("refused", "level"), [(0, "ok"), (1, "warn"), (2, "fail")])
def test_refused_files_fail_above_their_share(refused: int, level: str) -> None:
    found = found_in(GOOD, refused)[TITLES[0]]  # 9 slices, so one refused file is a share of 0.1
    assert (found.level, found.count) == (level, refused)
    assert found.examples == tuple(f"Cyst/{n}.png is empty (0 bytes)." for n in range(refused))


@pytest.mark.parametrize(("allowed", "level"), [(0, "fail"), (1, "warn")])
def test_one_picture_under_two_labels_fails_above_its_limit(allowed: int, level: str) -> None:
    slices = GOOD.copy()
    slices.loc[8, "sha256"] = slices.loc[0, "sha256"]
    found = found_in(slices, max_label_conflicts=allowed)[TITLES[1]]
    assert (found.level, found.count) == (level, 1)
    assert found.examples == (
        slices.loc[0, "path"],
        slices.loc[8, "path"],
    )


def test_copies_are_reported_and_pass() -> None:
    slices = GOOD.copy()
    slices.loc[1, "sha256"] = slices.loc[0, "sha256"]
    found = found_in(slices)
    assert (found[TITLES[2]].level, found[TITLES[2]].count) == ("warn", 1)
    assert found[TITLES[2]].examples == (slices.loc[1, "path"],)
    assert found[TITLES[1]].level == "ok"


@pytest.mark.parametrize("sizes", [[3], [1, 2], [4], []])
def test_a_class_with_too_few_slices_or_scans_fails(sizes: list[int]) -> None:
    found = found_in(manifest_of({"cyst": [2, 3], "stone": sizes}))
    assert found["enough of cyst"].level == "ok"
    assert (found["enough of stone"].level, found["enough of stone"].count) == (
        "fail",
        sum(sizes),
    )


def test_the_summary_counts_slices_scans_and_sizes() -> None:
    slices = GOOD.copy()
    slices.loc[0, ["width", "height"]] = 512, 256
    assert summary(slices) == Summary(
        slices=9,
        scans=4,
        patients=4,
        classes={"cyst": ClassCount(5, 2), "stone": ClassCount(4, 2)},
        sizes={"64 x 48": 8, "512 x 256": 1},
    )


def test_near_duplicates_under_two_labels_are_named() -> None:
    found = found_in(GOOD, pairs=((0, 8, 0.99),))["near duplicates across labels"]
    assert (found.level, found.count) == ("warn", 1)
    assert found.examples == (f"{GOOD['path'][0]} and {GOOD['path'][8]} (0.99)",)


@pytest.mark.parametrize(("limit", "level"), [(1.0, "warn"), (0.9, "fail")])
def test_a_phase_that_tells_the_label_comes_first(limit: float, level: str) -> None:
    slices = GOOD.assign(phase=GOOD["label"].map({"cyst": "plain", "stone": "enhanced"}))
    found = found_in(slices, max_confounding=limit)
    first = next(iter(found.values()))
    assert (first.check, first.level) == ("Contrast phase against label", level)
    assert "stone is always enhanced (2 of 2 scans)" in first.message
    assert "right for 100% of the scans" in first.message


def test_a_weaker_confounder_fails_where_the_limit_is_low() -> None:
    generator = np.random.default_rng(0)
    slices = manifest_of({"cyst": [1] * 20, "stone": [1] * 20})
    slices["body_share"] = (slices["label"] == "stone") * 0.5 + generator.normal(size=40)
    name = "Body size in the picture against label"
    assert 0.1 < confounders(slices)[0].effect < 0.5
    assert name not in found_in(slices, max_confounding=1.0)
    assert found_in(slices, max_confounding=0.1)[name].level == "fail"


def test_one_picture_of_two_patients_is_pointed_out() -> None:
    slices = GOOD.copy()
    slices.loc[8, "sha256"] = slices.loc[5, "sha256"]
    found = found_in(slices)["exact duplicates"]
    assert "1 pictures belong to more than one patient" in found.message
    assert found.examples == (
        slices["path"][5],
        slices["path"][8],
    )


def leakage(**changes: Any) -> Leakage:
    clean = {
        "nearest_in_training": 0.01, "near_copies": 0.0, "memory_accuracy": 0.4,
        "majority_accuracy": 0.3, "crossing": 0, "pairs": (),
    }  # fmt: skip
    return Leakage(**(clean | changes))


@pytest.mark.parametrize(
    ("changes", "level"),
    [
        ({}, "ok"),
        ({"nearest_in_training": 0.6}, "ok"),  # sets of one slice a scan are like that
        ({"near_copies": 0.02}, "ok"),
        ({"near_copies": 0.03}, "fail"),
        ({"crossing": 1}, "fail"),
    ],
)
def test_a_split_fails_by_copies_in_training_and_by_patients_that_cross(
    changes: dict[str, Any], level: str
) -> None:
    (found,) = split_findings(GOOD, "mine", leakage(**changes), LIMITS)
    assert (found.check, found.level) == ("leakage of the split 'mine'", level)
    assert found.about == "split"


def test_a_leak_is_shown_with_its_share_and_an_example() -> None:
    found = leakage(near_copies=0.5, pairs=((1, 2, 0.98),))
    (leak,) = split_findings(GOOD, "leaky", found, LIMITS)
    assert "50.0% of the test slices have a near copy in training; 2.0% are allowed" in leak.message
    assert "scores 40.0%; the most frequent label 30.0%" in leak.message
    assert leak.examples == (f"{GOOD['path'][1]} (test), {GOOD['path'][2]} (training)",)


def test_a_class_needs_patients_and_not_scans() -> None:
    slices = GOOD.assign(patient=GOOD["patient"].replace({"stone-0100": "stone-0000"}))
    assert found_in(slices)["enough of stone"].level == "fail"
