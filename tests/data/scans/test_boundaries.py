"""What the table of doubtful decisions says, and how sure it is."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kidney.data.scans.boundaries import (
    CLOSEST_SLICES,
    COLUMNS,
    NEXT_SLICE,
    Discriminant,
    boundaries,
)
from kidney.data.scans.grouping import LINKED, SAME_SCAN, chain, scan_names
from kidney.imaging.appearance import thumbnail
from tests.data.scans.test_grouping import A, B, between
from tests.helpers.data_slices import scan


def table_of(*slices: tuple[str, np.ndarray]) -> pd.DataFrame:
    paths = [path for path, _ in slices]
    manifest = pd.DataFrame({"path": paths, "label": [p.split("/")[0].lower() for p in paths]})
    looks = np.stack([look.round().astype(np.uint8) for _, look in slices])
    return boundaries(chain(manifest, looks), manifest, looks)


def decisions(table: pd.DataFrame) -> set[tuple[str, str, str]]:
    return set(zip(table["before"], table["after"], table["decision"], strict=True))


def test_each_decision_worth_a_look_has_a_row() -> None:
    near = between(A, B, 0.85)
    table = table_of(
        *(("Cyst/1.jpg", A), ("Cyst/2.jpg", A), ("Cyst/3.jpg", near), ("Cyst/4.jpg", B)),
        *(("Cyst/90.jpg", A), ("Tumor/5.jpg", B)),
    )
    assert list(table.columns) == COLUMNS
    # Cyst 1 and 2 look the same, cyst 4 and tumour 5 are of two labels: nothing to look at.
    assert decisions(table) == {
        ("Cyst/2.jpg", "Cyst/3.jpg", "joined"),
        ("Cyst/3.jpg", "Cyst/4.jpg", "cut"),
        ("Cyst/4.jpg", "Cyst/90.jpg", "cut"),
        ("Cyst/1.jpg", "Cyst/90.jpg", "linked"),
    }
    similarity = table.set_index("decision")["similarity"]
    assert similarity["joined"] == pytest.approx(0.85, abs=0.01)
    assert similarity["linked"] == pytest.approx(1)


def test_slices_without_numbers_are_never_cut_and_each_is_linked_once() -> None:
    table = table_of(("Cyst/a.jpg", A), ("Cyst/b.jpg", B), ("Cyst/c.jpg", A), ("Cyst/d.jpg", A))
    assert list(table["decision"]) == ["linked"] * 2
    assert set(table["before"]) | set(table["after"]) == {"Cyst/a.jpg", "Cyst/c.jpg", "Cyst/d.jpg"}


correlations = st.floats(-1, 1)


@given(one=correlations, other=correlations, middle=st.floats(-5, 0), slope=st.floats(0.01, 50))
def test_more_alike_slices_are_more_likely_of_one_scan(
    one: float, other: float, middle: float, slope: float
) -> None:
    low, high = Discriminant(middle, slope).one_scan(np.sort([one, other]))
    assert 0 <= low <= high <= 1


def test_the_thresholds_lie_where_the_constants_are_in_doubt() -> None:
    assert 0.3 < NEXT_SLICE.one_scan(np.array([SAME_SCAN]))[0] < 0.5  # on the side of joining
    assert 0.5 < CLOSEST_SLICES.one_scan(np.array([LINKED]))[0] < 0.7


@pytest.mark.parametrize("labels", [1, 2])
def test_the_confidence_follows_similarity_in_a_set_that_is_fitted(labels: int) -> None:
    generator = np.random.default_rng(3)
    scans = [[thumbnail(look) for look in scan(seed, 6)] for seed in range(60)]
    for i in range(1, 60, 2):  # every second scan begins more or less like the end of the last
        share = generator.uniform(0, 1)
        scans[i][0] = (share * scans[i - 1][-1] + (1 - share) * scans[i][0]).astype(np.uint8)
    looks = [look for pictures in scans for look in pictures]
    names = [("Cyst", "Tumor")[labels * i // len(looks)] for i in range(len(looks))]
    slices = pd.DataFrame({"path": [f"{name}/{i}.png" for i, name in enumerate(names)]})
    slices["label"] = [name.lower() for name in names]
    found = chain(slices, np.stack(looks))
    table = boundaries(found, slices, np.stack(looks))
    assert table["confidence"].between(0.5, 1).all()
    assert table["confidence"].is_monotonic_increasing
    for decision, rising in (("cut", False), ("joined", True)):
        rows = table[table["decision"] == decision].sort_values("similarity", ascending=rising)
        assert len(rows) > 5
        assert rows["confidence"].iloc[-1] > 0.9
        assert rows["confidence"].is_monotonic_increasing
    scan_of = dict(zip(slices["path"], scan_names(found, slices), strict=True))
    for before, after, decision in decisions(table):
        assert (scan_of[before] != scan_of[after]) == (decision == "cut")
