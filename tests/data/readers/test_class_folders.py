"""Pictures in class folders: patients from names, where names tell them."""

from pathlib import Path

import pytest

from kidney.data.readers.class_folders import read
from kidney.data.readers.interface import RawSlice
from kidney.errors import ConfigError
from tests.data.slices import CLASSES, take


def found(raw: Path, **settings: str) -> list[RawSlice]:
    slices = [item for task in read(raw, classes=CLASSES, **settings) for item in task()]
    assert all(isinstance(item, RawSlice) for item in slices)
    return slices  # type: ignore[return-value]


def test_without_an_expression_nobody_knows_the_patient(source: Path) -> None:
    slices = found(source)
    assert len(slices) == 48
    assert {s.patient for s in slices} == {s.scan for s in slices} == {""}


def test_patients_are_told_by_the_path(source: Path) -> None:
    for number in range(1, 13):
        new = source / "Cyst" / f"case{number // 5}_{number}.png"
        (source / "Cyst" / f"Cyst- ({number}).png").rename(new)
    slices = {s.path: s.patient for s in found(source, patient=r"(case\d+)_")}
    assert slices["Cyst/case2_11.png"] == "case2"
    assert slices["Stone/Stone- (1).png"] == ""


def test_real_patients_part_scans_that_look_alike(source: Path, tmp_path: Path) -> None:
    # Three slices of one look, of two patients by name.
    for number, name in enumerate(("a_1", "a_2", "b_3"), start=1):
        (source / "Cyst" / f"Cyst- ({number}).png").rename(source / "Cyst" / f"{name}.png")
    slices = take(tmp_path / "data", source, patient=r"/([ab])_").set_index("path")
    patients = slices.loc[["Cyst/a_1.png", "Cyst/a_2.png", "Cyst/b_3.png"], "patient"]
    assert patients.to_list() == ["a", "a", "b"]


@pytest.mark.parametrize("expression", ["(", "case", "(a)(b)"])
def test_an_expression_that_cannot_tell_a_patient_is_refused(source: Path, expression: str) -> None:
    with pytest.raises(ConfigError, match=r"read\.patient"):
        read(source, classes=CLASSES, patient=expression)
