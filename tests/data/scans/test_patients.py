"""Axial and coronal runs of one patient find together, and given patients win."""

import csv
import io
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import adjusted_rand_score

from kidney.data.scans.describe import describe
from kidney.imaging.appearance import thumbnail
from tests.data.scans.test_grouping import A


def axial(seed: int, grey: int = 110) -> np.ndarray:
    """A body in air, as a square picture of an axial slice shows it."""
    generator = np.random.default_rng(seed)
    look = generator.integers(0, 3, (96, 96))
    top, left = generator.integers(6, 50, 2)
    look[top : top + 40, left : left + 40] = grey
    return look


def coronal(seed: int, grey: int = 110) -> np.ndarray:
    """A body that leaves the picture at head and feet."""
    look = np.zeros((96, 96))
    generator = np.random.default_rng(seed)
    width = int(generator.integers(30, 60))
    look[:, 48 - width // 2 : 48 + width // 2] = grey
    return look + generator.integers(0, 3, look.shape)


def described(
    *runs: tuple[int, list[np.ndarray]], patients: dict[int, str] | None = None, width: int = 512
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Describe runs of slices, each with its first number; patients by number."""
    numbers = [first + place for first, looks in runs for place in range(len(looks))]
    slices = pd.DataFrame({"path": [f"Cyst/Cyst- ({number}).jpg" for number in numbers]})
    slices["label"], slices["width"], slices["height"] = "cyst", width, 512
    for name in ("scan", "phase", "plane"):
        slices[name] = ""
    slices["patient"] = [(patients or {}).get(number, "") for number in numbers]
    looks = np.stack([look for _, of_run in runs for look in of_run])
    return describe(slices, looks.round().astype(np.uint8))


def patients_of(manifest: pd.DataFrame) -> list[str]:
    return list(manifest.drop_duplicates("scan")["patient"])


def test_a_coronal_run_is_of_the_patient_of_the_axial_run_before_it():
    manifest, table = described((1, [axial(1)] * 3), (4, [coronal(2)] * 3), (7, [axial(3)] * 3))
    assert manifest["scan"].nunique() == 3
    assert patients_of(manifest) == ["cyst-0001", "cyst-0001", "cyst-0007"]
    (row,) = table[table["decision"] == "paired"].to_dict("records")
    assert (row["before"], row["after"]) == ("Cyst/Cyst- (3).jpg", "Cyst/Cyst- (4).jpg")
    assert row["confidence"] > 0.9


def test_a_coronal_run_without_an_axial_run_before_it_is_a_patient():
    manifest, table = described((1, [coronal(1)] * 3), (90, [coronal(5)] * 3), (200, [axial(2)]))
    assert patients_of(manifest) == list(manifest["scan"].unique())
    assert "paired" not in set(table["decision"])


def test_soft_tissue_of_another_grey_makes_a_pair_doubtful():
    _, alike = described((1, [axial(1, 110)] * 3), (4, [coronal(2, 112)] * 3))
    _, other = described((1, [axial(1, 110)] * 3), (4, [coronal(2, 160)] * 3))
    first, second = (t[t["decision"] == "paired"]["confidence"].iloc[0] for t in (alike, other))
    assert first > 0.9
    assert second == 0.5
    assert other["confidence"].is_monotonic_increasing


def test_pictures_that_are_not_square_are_no_axial_runs():
    manifest, _ = described((1, [axial(1)] * 3), (4, [coronal(2)] * 3), width=640)
    assert manifest["patient"].nunique() == 2


@pytest.mark.parametrize(("similarity", "patients"), [(0.785, 1), (0.70, 2)])
def test_axial_runs_in_turn_are_of_one_patient_where_they_are_alike(similarity, patients):
    def framed(look: np.ndarray) -> np.ndarray:
        """In air on all sides, as an axial slice."""
        return np.pad(look[24:72, 24:72], 24)

    def correlation(other: np.ndarray) -> float:
        return float(np.corrcoef(framed(A).ravel(), other.ravel())[0, 1])

    moved = [np.roll(framed(A), (x, y), axis=(0, 1)) for x in range(14) for y in range(14)]
    other = min(moved, key=lambda look: abs(correlation(look) - similarity))
    assert correlation(other) == pytest.approx(similarity, abs=0.014)
    manifest, _ = described((1, [framed(A)] * 3), (4, [other] * 3))
    assert manifest["scan"].nunique() == 2
    assert manifest["patient"].nunique() == patients


def test_given_patients_win_over_pairs():
    runs = ((1, [axial(1)] * 3), (4, [coronal(2)] * 3))
    assert patients_of(described(*runs, patients={2: "p7"})[0]) == ["p7", "p7"]
    assert patients_of(described(*runs, patients={5: "p8"})[0]) == ["p8", "p8"]
    apart = described(*runs, patients={2: "p7", 5: "p8"})[0]
    assert patients_of(apart) == ["p7", "p8"]


def test_what_two_given_patients_hold_apart_is_not_joined_through_a_third():
    runs = ((1, [axial(1)] * 3), (4, [coronal(2)] * 3), (40, [axial(9)] * 3), (44, [coronal(11)]))
    manifest, _ = described(*runs, patients={1: "a", 44: "b"})
    assert patients_of(manifest) == ["a", "a", "b", "b"]


def test_the_patients_of_the_public_part_are_those_of_the_table(shared: Path):
    """Scans alone agree with the table to an adjusted Rand index of 0.80."""
    with (shared / "data" / "ct-kidney-patients.csv").open() as file:
        expected = {row["file"]: row["patient"] for row in csv.DictReader(file)}
    with ZipFile(shared / "data" / "ct-kidney-part.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith(".jpg")]
        pictures = [Image.open(io.BytesIO(archive.read(name))).convert("L") for name in names]
    files = ["/".join(name.split("/")[-2:]) for name in names]
    slices = pd.DataFrame({"path": names, "label": [file.split("/")[0].lower() for file in files]})
    slices["width"], slices["height"] = zip(*(picture.size for picture in pictures), strict=True)
    for name in ("scan", "patient", "phase", "plane"):
        slices[name] = ""
    manifest, table = describe(slices, np.stack([thumbnail(np.array(p)) for p in pictures]))
    truth = pd.Series([expected[file] for file in files])
    assert adjusted_rand_score(truth, manifest["patient"]) > 0.92
    assert 70 <= manifest["patient"].nunique() <= 75
    assert (table["decision"] == "paired").sum() > 15
