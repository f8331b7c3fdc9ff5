"""Given ids win, the unknown is inferred, and what was inferred is marked."""

import numpy as np
import pandas as pd
import pytest

from kidney.data.scans.describe import describe
from kidney.errors import DataError
from kidney.imaging.appearance import thumbnail
from tests.helpers.data_slices import scan

LOOKS = [thumbnail(slice_) for seed in (1, 2) for slice_ in scan(seed, 3)]


def rows(**columns: list[str]) -> pd.DataFrame:
    table = pd.DataFrame({"path": [f"Cyst/{n}.png" for n in range(1, 7)], "label": "cyst"})
    for name in ("scan", "patient", "phase", "plane"):
        table[name] = columns.get(name, [""] * 6)
    table["width"], table["height"] = 64, 48
    return table


def described(**columns: list[str]) -> pd.DataFrame:
    return describe(rows(**columns), np.stack(LOOKS))[0]


def test_scans_are_inferred_and_stand_for_patients() -> None:
    slices = described()
    assert slices["scan"].to_list() == ["cyst-0001"] * 3 + ["cyst-0004"] * 3
    assert slices["patient"].equals(slices["scan"])


def test_given_scans_win() -> None:
    slices = described(scan=["a", "b", "", "", "", "b"])
    assert slices["scan"].to_list() == ["a", "b", "cyst-0003", "cyst-0004", "cyst-0004", "b"]


def test_given_patients_part_slices_that_look_alike() -> None:
    slices = described(patient=["p", "p", "q", "r", "", ""])
    assert (
        slices["scan"].to_list()
        == ["cyst-0001/p", "cyst-0001/p", "cyst-0001/q"] + ["cyst-0004"] * 3
    )
    assert slices["patient"].to_list() == ["p", "p", "q", "r", "r", "r"]


def test_one_scan_of_two_patients_is_refused() -> None:
    with pytest.raises(DataError, match="one patient a scan, but scan s"):
        described(scan=["s"] * 6, patient=["p", "q", "", "", "", ""])


def test_phase_and_view_belong_to_a_scan_and_are_marked_as_estimated() -> None:
    slices = described(phase=["enhanced"] * 3 + [""] * 3, plane=["oblique"] + [""] * 5)
    assert slices["phase"].to_list()[:3] == ["enhanced"] * 3
    assert slices["phase"][3:].nunique() == 1
    assert slices["plane"][0] == "oblique"
    assert slices["plane"][1:3].nunique() == 1
    assert slices["estimated"].to_list() == ["", "plane", "plane"] + ["phase plane"] * 3


def test_a_bright_scan_is_enhanced_for_all_its_slices() -> None:
    dark = np.full((96, 96), 100, np.uint8)
    bright = dark.copy()
    bright[20:60, 20:60] = 180
    slices, _ = describe(rows(scan=["s"] * 6), np.stack([bright] * 4 + [dark] * 2))
    assert set(slices["phase"]) == {"enhanced"}
    assert slices["enhancement"].to_list() == [180] * 4 + [100] * 2
    assert set(describe(rows(scan=["s"] * 6), np.stack([dark] * 6))[0]["phase"]) == {"plain"}


def test_what_is_given_is_not_changed() -> None:
    before = rows()
    describe(before, np.stack(LOOKS))
    pd.testing.assert_frame_equal(before, rows())
