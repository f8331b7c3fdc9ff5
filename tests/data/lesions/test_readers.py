import csv
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from kidney.data.lesions import readers
from kidney.data.lesions.records import CYST, KIDNEY, STONE, TUMOR, Source, available
from kidney.errors import DataError
from tests.helpers.lesion_sources import class_source, masked_source, write_classes, write_masked


def every(_: str) -> bool:
    return True


def read(source: Source, folder: Path) -> list[readers.SourceSlice]:
    return list(source.slices(folder, folder / "cache", every))


def test_masked_slices_have_patients_pools_and_labels(tmp_path: Path):
    write_masked(tmp_path / "kits", patients=2)
    found = read(masked_source(), tmp_path)
    assert [one.record.pool for one in found] == ["kidney", "tumor"] * 2
    assert {one.record.patient for one in found} == {"kits-case_00000", "kits-case_00001"}
    assert found[0].record.known == ("all", "all", "outside", "all")
    assert set(np.unique(found[1].mask)) == {0, KIDNEY, TUMOR}


def test_masks_of_colours_and_names_of_another_set(tmp_path: Path):
    write_masked(tmp_path / "kits", patients=1)
    for mask in (tmp_path / "kits" / "masks").iterdir():
        values = np.asarray(Image.open(mask))
        colours = np.zeros((*values.shape, 3), np.uint8)
        colours[values == KIDNEY, 2] = 255
        colours[values == TUMOR, 0] = 255
        Image.fromarray(colours).save(mask)
    found = list(
        readers.masked_slices(
            "kits", {"slices": (tmp_path / "kits",)}, every, values={"kidney": 1},
            patients={"case_00000": "case_7"}, undrawn_kidneys=["case_00000_slice_1"],
        )
    )  # fmt: skip
    assert {one.record.patient for one in found} == {"kits-case_7"}
    assert set(np.unique(found[1].mask)) == {0, KIDNEY, TUMOR}
    assert [one.record.known[0] for one in found] == ["all", "drawn"]


def test_a_mask_of_another_size_or_none_is_an_error(tmp_path: Path):
    folder = write_masked(tmp_path / "kits", patients=1)
    mask = folder / "masks" / "case_00000_slice_0.png"
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(mask)
    with pytest.raises(DataError, match="to have the"):
        read(masked_source(), tmp_path)
    mask.unlink()
    with pytest.raises(DataError, match="Expected a mask"):
        read(masked_source(), tmp_path)


def test_a_class_says_what_is_known(tmp_path: Path):
    write_classes(tmp_path / "public")
    found = {one.record.label: one.record for one in read(class_source(), tmp_path)}
    assert found["normal"].known == ("drawn", "all", "all", "all")
    assert found["cyst"].known == ("drawn", "all", "none", "none")
    assert found["tumor"].known == ("drawn", "none", "none", "none")
    assert found["tumor"].present == ("tumor",)
    assert found["normal"].present == ()


def test_runs_of_numbers_are_patients_unless_a_table_names_them(tmp_path: Path):
    folder = write_classes(tmp_path / "public", patients=3)
    assert len({one.record.patient for one in read(class_source(), tmp_path)}) == 12
    table = tmp_path / "patients.csv"
    files = {"slices": (folder,), "patients": (table,)}
    classes = {"normal": "Normal"}
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("file", "patient"), ("Normal/Normal- (1).png", "a")])
    with pytest.raises(DataError, match="patient for each slice"):
        list(readers.class_folders("public", files, every, classes=classes))
    with table.open("w", newline="") as file:
        names = [f"Normal/{path.name}" for path in (folder / "Normal").iterdir()]
        csv.writer(file).writerows([("file", "patient"), *((name, "a") for name in names)])
    found = list(readers.class_folders("public", files, every, classes=classes))
    assert {one.record.patient for one in found} == {"public-a"}


def test_stones_have_masks_by_number_and_more_slices_beside_them(tmp_path: Path):
    folder = write_classes(tmp_path / "public", patients=1)
    stones = tmp_path / "stones"
    for name in ("images", "masks"):
        (stones / name).mkdir(parents=True)
    mask = np.zeros((48, 48), np.uint8)
    mask[20, 20] = STONE
    for number in (1, 900, 903, 990):
        Image.fromarray(mask).save(stones / "masks" / f"Stone- ({number}).png")
        if number > 1:
            Image.fromarray(mask).save(stones / "images" / f"Stone- ({number}).jpg")
    files = {"slices": (folder,), "stone_masks": (stones,)}
    found = list(readers.class_folders("public", files, every, classes={"stone": "Stone"}))
    pools = [one.record.pool for one in found]
    assert pools == ["stone_drawn", "stone", "stone_drawn", "stone_drawn", "stone_drawn"]
    assert found[0].mask.shape == found[0].pixels.shape  # enlarged from 48 to 96
    assert (found[0].mask == STONE).sum() == 4
    assert found[0].record.known == ("drawn", "all", "none", "all")
    assert found[0].record.present == ()
    patients = [one.record.patient for one in found[2:]]
    assert patients[0] == patients[1] != patients[2]


def test_only_slices_without_a_kidney_are_known_of_a_series(tmp_path: Path):
    folder = tmp_path / "p001"
    folder.mkdir()
    for number in range(3):
        Image.fromarray(np.full((40, 40), 90, np.uint8)).save(folder / f"{number:03d}.jpg")
    table = tmp_path / "slices.csv"
    table.write_text("patient,slice,kidney\np001,000,0\np001,001,part\n")
    files = {"slices": (tmp_path,)}
    found = list(readers.whole_series("kauh", files, every, annotation=str(table)))
    assert [one.record.pool for one in found] == ["free", "unlabelled", "unlabelled"]
    assert found[0].record.known == ("all",) * 4
    assert found[1].record.known == ("none",) * 4


def test_volumes_of_kits_enter_slice_by_slice(tmp_path: Path):
    case = tmp_path / "kits23" / "case_00007"
    case.mkdir(parents=True)
    hu = np.full((12, 40, 40), -1000, np.int16)
    hu[:, 5:35, 5:35] = 50
    mask = np.zeros_like(hu, np.uint8)
    mask[6:, 10:20, 10:20] = 1
    mask[9:11, 12:16, 12:16] = 2
    mask[11, 12:16, 12:16] = 3
    affine = np.array([[0, 0, -0.8, 0], [0, -0.8, 0, 0], [-3, 0, 0, 0], [0, 0, 0, 1.0]])
    for name, values in (("imaging", hu), ("segmentation", mask)):
        nibabel.save(nibabel.Nifti1Image(values, affine), case / f"{name}.nii.gz")
    source = Source(
        "kits_volumes", {"cases": ["kits23"]},
        dict.fromkeys(["tumor", "cyst", "kidney", "free"], 1.0),
        lambda *a: readers.volumes(*a, values={"kidney": 1, "tumor": 2, "cyst": 3}, free_every=3),
    )  # fmt: skip
    found = read(source, tmp_path)
    pools = [one.record.pool for one in found]
    assert sorted(pools) == ["cyst", "free", "free", *["kidney"] * 3, *["tumor"] * 2]
    assert {one.record.patient for one in found} == {"kits_volumes-case_00007"}
    assert all(one.pixels.dtype == np.int16 and one.pixels.min() == -1000 for one in found)
    assert (found[pools.index("cyst")].mask == CYST).sum() == 16


def test_phantoms_have_all_findings_and_chests_have_none():
    found = list(readers.phantom("phantom", {}, every, scans=8, slices=1, size=64))
    assert [one.record.pool for one in found] == ["kidney"] * 8 + ["thorax"]
    assert {int(value) for one in found for value in np.unique(one.mask)} == {0, 1, 2, 3, 4}
    assert not found[-1].mask.any()
    assert {one.record.label for one in found} == {""}
    labelled = list(
        readers.phantom("phantom", {}, every, scans=4, slices=1, size=64, labelled=True)
    )
    assert sorted(one.record.label for one in labelled) == ["cyst", "normal", "stone", "tumor"]
    assert all(one.record.pool == one.record.label for one in labelled)


def test_unwanted_patients_are_not_read(tmp_path: Path):
    write_masked(tmp_path / "kits", patients=3)
    slices = masked_source().slices(tmp_path, tmp_path, lambda p: p == "kits-case_00001")
    assert {one.record.patient for one in slices} == {"kits-case_00001"}


def test_a_source_without_files_is_left_out_only_if_it_may_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    write_masked(tmp_path / "kits", patients=1)
    optional = Source("volumes", {"cases": ["kits23"]}, {}, readers.volumes, optional=True)
    assert [one.name for one in available([masked_source(), optional], tmp_path)] == ["kits"]
    assert "Training without volumes" in capsys.readouterr().out
    with pytest.raises(DataError, match=r"without=\[curvas\]"):
        available([masked_source("curvas")], tmp_path)


def test_a_pool_without_a_share_is_an_error(tmp_path: Path):
    write_masked(tmp_path / "kits", patients=1)
    source = Source("kits", {"slices": ["kits"]}, {"kidney": 1.0}, masked_source().read)
    with pytest.raises(DataError, match="kits/tumor"):
        read(source, tmp_path)
