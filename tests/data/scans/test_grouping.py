"""Slices find back into their scans by number and by likeness."""

import csv
from pathlib import Path, PurePosixPath
from random import Random
from zipfile import ZipFile

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kidney.data.phantom.files import write_class_folders
from kidney.data.scans import similarity as likeness
from kidney.data.scans.grouping import (
    LINKED,
    MOST_SKIPPED,
    SAME_SCAN,
    chain,
    scan_names,
    slice_number,
    split_name,
)
from kidney.imaging.appearance import thumbnail
from tests.helpers.data_slices import scan


def names_of(slices: pd.DataFrame, thumbnails: np.ndarray) -> list[str]:
    return scan_names(chain(slices, thumbnails), slices)


A, B, C = (thumbnail(scan(seed, 1)[0]).astype(float) for seed in (1, 2, 3))


def between(a: np.ndarray, b: np.ndarray, correlation: float) -> np.ndarray:
    """Mix b into a until the mixture correlates with a as asked."""
    unit_a, unit_b = ((x - x.mean()) / np.linalg.norm(x - x.mean()) for x in (a, b))
    unit_b -= (unit_a * unit_b).sum() * unit_a
    unit_b /= np.linalg.norm(unit_b)
    mixed = correlation * unit_a + (1 - correlation**2) ** 0.5 * unit_b
    return 128 + mixed * 100 / np.abs(mixed).max()


def scans_of(*slices: tuple[str, np.ndarray]) -> list[str]:
    paths = [path for path, _ in slices]
    manifest = pd.DataFrame({"path": paths, "label": [p.split("/")[0].lower() for p in paths]})
    return names_of(manifest, np.stack([look.round().astype(np.uint8) for _, look in slices]))


@pytest.mark.parametrize(
    ("path", "number"),
    [("Cyst/Cyst- (12).jpg", 12), ("2024/Cyst.png", None), ("a/3-slice-007.png", 7), ("x", None)],
)
def test_the_number_of_a_slice_is_the_last_one_in_its_name(path: str, number: int | None) -> None:
    assert slice_number(path) == number


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("Cyst/Cyst- (12).jpg", "Cyst/Cyst- (*)"),
        ("a/p3_slice_007.png", "a/p3_slice_*"),
        ("a/7_axial.png", "a/*_axial"),
        ("2024/x.png", "2024/x"),
    ],
)
def test_a_series_is_the_path_without_the_slices_number(path: str, kind: str) -> None:
    assert split_name(path)[0] == kind


def test_alike_neighbours_are_one_scan_named_after_its_first_slice() -> None:
    names = scans_of(
        ("Cyst/Cyst- (8).jpg", A), ("Cyst/Cyst- (9).jpg", A), ("Cyst/Cyst- (10).jpg", A)
    )
    assert names == ["cyst-0008"] * 3


def test_a_scan_ends_where_the_picture_changes() -> None:
    names = scans_of(("Cyst/1.jpg", A), ("Cyst/2.jpg", A), ("Cyst/3.jpg", B), ("Cyst/4.jpg", B))
    assert names == ["cyst-0001", "cyst-0001", "cyst-0003", "cyst-0003"]


@pytest.mark.parametrize(("off", "joined"), [(0.02, True), (-0.02, False)])
def test_neighbours_are_one_scan_above_the_first_threshold(off: float, joined: bool) -> None:
    names = scans_of(("Cyst/1.jpg", A), ("Cyst/2.jpg", between(A, B, SAME_SCAN + off)))
    assert (len(set(names)) == 1) == joined


@pytest.mark.parametrize(("off", "joined"), [(0.02, True), (-0.02, False)])
def test_over_a_gap_slices_are_one_scan_above_the_second_threshold(
    off: float, joined: bool
) -> None:
    names = scans_of(("Cyst/1.jpg", A), ("Cyst/70.jpg", between(A, B, LINKED + off)))
    assert (len(set(names)) == 1) == joined


@pytest.mark.parametrize(("more", "joined"), [(0, True), (1, False)])
def test_a_few_slices_left_out_do_not_end_a_scan(more: int, joined: bool) -> None:
    after = f"Cyst/{1 + MOST_SKIPPED + more}.jpg"
    names = scans_of(("Cyst/1.jpg", A), (after, between(A, B, SAME_SCAN + 0.02)))
    assert (len(set(names)) == 1) == joined


def test_a_gap_between_alike_slices_is_bridged_over_what_lies_between() -> None:
    names = scans_of(("Cyst/1.jpg", A), ("Cyst/2.jpg", B), ("Cyst/9.jpg", A), ("Cyst/10.jpg", C))
    assert names == ["cyst-0001", "cyst-0002", "cyst-0001", "cyst-0010"]


def test_alike_slices_of_two_labels_are_two_scans() -> None:
    assert scans_of(("Cyst/1.jpg", A), ("Tumor/2.jpg", A)) == ["cyst-0001", "tumor-0002"]


def test_slices_without_a_number_are_linked_by_likeness_alone() -> None:
    names = scans_of(("Cyst/a.jpg", A), ("Cyst/b.jpg", B), ("Cyst/c.jpg", A), ("Cyst/5.jpg", B))
    assert names[0] == names[2] != names[1] == names[3] == "cyst-0005"


def test_the_same_numbers_in_two_folders_are_two_scans() -> None:
    names = scans_of(
        ("Cyst/one/1.jpg", A), ("Cyst/one/2.jpg", A), ("Cyst/two/1.jpg", B), ("Cyst/two/2.jpg", B)
    )
    assert names == ["cyst-0001", "cyst-0001", "cyst-0001-2", "cyst-0001-2"]


def test_consecutive_numbers_in_two_folders_are_no_neighbours() -> None:
    assert len(set(scans_of(("Cyst/one/1.jpg", A), ("Cyst/two/2.jpg", between(A, B, 0.85))))) == 2
    assert len(set(scans_of(("Cyst/one/1.jpg", A), ("Cyst/one/2.jpg", between(A, B, 0.85))))) == 1


def test_consecutive_numbers_of_two_series_are_no_neighbours() -> None:
    near = between(A, B, 0.85)
    assert len(set(scans_of(("Cyst/p1_01.jpg", A), ("Cyst/p2_02.jpg", near)))) == 2
    assert len(set(scans_of(("Cyst/p1_01.jpg", A), ("Cyst/p1_02.jpg", near)))) == 1


def test_even_pictures_are_like_none() -> None:
    even = np.full_like(A, 128)
    assert len(set(scans_of(("Cyst/a.jpg", even), ("Cyst/b.jpg", even), ("Cyst/c.jpg", A)))) == 3


@st.composite
def labelled_slices(draw: st.DrawFn) -> list[tuple[str, np.ndarray]]:
    """Slices with gaps, ties and missing numbers, whose looks lie near both thresholds."""
    label = st.sampled_from(["Cyst", "Tumor"])
    name = st.sampled_from([f"{n}.{kind}" for n in ("", *range(1, 7)) for kind in ("jpg", "png")])
    paths = draw(st.lists(st.tuples(label, name), min_size=2, max_size=10, unique=True))
    look = st.sampled_from([A, B, *(between(A, B, c) for c in (0.78, 0.82, 0.88, 0.92))])
    return [(f"{label}/{name}", draw(look)) for label, name in paths]


@settings(max_examples=50, deadline=None)
@given(slices=labelled_slices(), shuffled=st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter_and_no_scan_crosses_labels(
    slices: list[tuple[str, np.ndarray]], shuffled: Random
) -> None:
    names = {path: name for (path, _), name in zip(slices, scans_of(*slices), strict=True)}
    other = list(slices)
    shuffled.shuffle(other)
    assert {p: name for (p, _), name in zip(other, scans_of(*other), strict=True)} == names
    assert all(name.startswith(path.split("/")[0].lower()) for path, name in names.items())


def each_with_each(slices: list[tuple[str, np.ndarray]]) -> set[frozenset[str]]:
    """The scans as sets of paths, found by comparing each slice with each."""
    paths = sorted(path for path, _ in slices)
    looks = {path: look.round().astype(np.uint8).ravel() for path, look in slices}
    keys = {path: (slice_number(path) is None, slice_number(path) or 0, path) for path in paths}
    scan = {path: {path} for path in paths}
    for label in ("Cyst", "Tumor"):
        for kind in sorted({split_name(path)[0] for path in paths}):
            mine = [p for p in paths if p.startswith(label)]
            mine.sort(key=lambda p: keys[p])
            follow = [p for p in mine if split_name(p)[0] == kind]
            for i, a in enumerate(mine):
                for b in mine[:i]:
                    gap = (slice_number(a) or 0) - (slice_number(b) or -99)
                    next_one = {a, b} <= set(follow) and follow.index(a) == follow.index(b) + 1
                    enough = SAME_SCAN if next_one and 0 < gap <= MOST_SKIPPED else LINKED
                    if np.corrcoef(looks[a], looks[b])[0, 1] > enough:
                        scan[a] |= scan[b]
                        for path in scan[a]:
                            scan[path] = scan[a]
    return {frozenset(group) for group in scan.values()}


@settings(max_examples=50, deadline=None)
@given(slices=labelled_slices())
def test_the_scans_are_those_that_comparing_each_with_each_finds(
    slices: list[tuple[str, np.ndarray]],
) -> None:
    found = pd.Series([path for path, _ in slices]).groupby(scans_of(*slices)).agg(frozenset)
    assert set(found) == each_with_each(slices)


def test_few_pairs_of_many_slices_are_compared_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def counting(thumbnails: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        compared.append(len(one))
        return correlation(thumbnails, one, other)

    correlation = likeness.correlation
    monkeypatch.setattr("kidney.data.scans.similarity.correlation", counting)
    monkeypatch.setattr("kidney.data.scans.grouping.correlation", counting)
    # Each scan in two runs, far apart: 400 pairs of slices that could link the two.
    looks = [thumbnail(look) for seed in range(100) for look in scan(seed // 2, 20)]
    paths = [f"Cyst/{100 * (i // 20) + i}.jpg" for i in range(len(looks))]
    manifest = pd.DataFrame({"path": paths, "label": "cyst"})
    assert len(set(names_of(manifest, np.stack(looks)))) == 50
    assert len(looks) == 2000
    assert sum(compared) < 2 * len(looks)  # each with each: 2 million


def test_the_scans_of_real_slices_are_found(shared: Path) -> None:
    looks, paths = [], []
    with ZipFile(shared / "data" / "ct-kidney-mini.zip") as archive:
        for path in archive.namelist():
            if path.endswith(".jpg"):
                with archive.open(path) as file:
                    looks.append(thumbnail(np.asarray(Image.open(file).convert("L"))))
                paths.append(path)
    labels = [PurePosixPath(path).parent.name.lower() for path in paths]
    names = names_of(pd.DataFrame({"path": paths, "label": labels}), np.stack(looks))
    sizes = pd.Series(names).groupby([labels, names]).size()
    assert (sizes == 6).all()
    assert (sizes.groupby(level=0).size() == 5).all()


def test_phantom_scans_are_found_as_they_were_drawn(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "set", scans_per_class=4, seed=11, size=96, max_slices=5)
    with (tmp_path / "set" / "phantom.csv").open(newline="", encoding="utf-8") as file:
        truth = pd.DataFrame(list(csv.DictReader(file)))
    looks = [np.asarray(Image.open(tmp_path / "set" / path)) for path in truth["path"]]
    found = pd.Series(names_of(truth, np.stack([thumbnail(look) for look in looks])))
    assert truth["scan"].nunique() == 16
    pairs = set(zip(truth["scan"], found, strict=True))
    assert len(pairs) == truth["scan"].nunique() == found.nunique()
