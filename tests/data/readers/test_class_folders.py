"""Pictures in class folders: patients from names, where names tell them."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf
from PIL import Image

from kidney.data.readers.class_folders import read
from kidney.data.readers.interface import RawSlice
from kidney.errors import ConfigError
from tests.helpers.data_slices import CLASSES, scan, take


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


@pytest.mark.parametrize("name", ["ct_kidney", "phantom"])
def test_the_expression_can_be_set_without_adding_a_key(name: str) -> None:
    read_by = OmegaConf.load(Path(__file__).parents[3] / "conf" / "data" / f"{name}.yaml").read
    assert "class_folders" in read_by._target_
    assert "patient" in read_by
    assert read_by.patient is None


def doubts(raw: Path, classes: dict[str, str | int], *names: str) -> list[str]:
    """Write a picture for each name, read them and return in doubt of which labels they are."""
    for name in names:
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(scan(1, 1)[0]).save(raw / name)
    found = [item for task in read(raw, classes=classes) for item in task()]
    assert len(found) == len(names)
    return sorted(item.path for item in found if isinstance(item, RawSlice) and item.doubt)


def test_the_name_of_another_class_is_a_doubt_where_it_is_a_whole_word(tmp_path: Path) -> None:
    names = ("Tumor/normalized_12.png", "Tumor/Cyst7.png", "Cyst/cystic- (1).png")
    doubtful = ("Tumor/normal_12.png", "Tumor/CYST- (1).png", "Cyst/Stone.png")
    assert doubts(tmp_path, dict(CLASSES), *names, *doubtful) == sorted(doubtful)


def test_the_longest_name_of_a_class_counts(tmp_path: Path) -> None:
    classes: dict[str, str | int] = {"cyst": "Cyst", "large": "Cyst large"}
    names = ("Cyst large/Cyst large- (1).png", "Cyst/Cyst large- (2).png", "Cyst/Cyst- (3).png")
    assert doubts(tmp_path, classes, *names) == ["Cyst/Cyst large- (2).png"]


def test_folders_may_be_numbers_and_files_be_numbered(tmp_path: Path) -> None:
    names = ("0/1.png", "1/0.png", "1/0-1.png", "1/0001.png")
    assert doubts(tmp_path, {"normal": 0, "cyst": 1}, *names) == []
    slices = [item for task in read(tmp_path, classes={"no": 0}, ignore=[1]) for item in task()]
    assert [(s.path, s.label) for s in slices if isinstance(s, RawSlice)] == [("0/1.png", "no")]
