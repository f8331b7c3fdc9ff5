from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from kidney.data.lesions import readers
from kidney.data.lesions.augment import warp
from kidney.data.lesions.dataset import STRIDE, LesionDataset, assign_folds, targets
from kidney.data.lesions.records import KIDNEY, STONE, TUMOR, SliceRecord, Source
from kidney.data.lesions.store import SliceStore, open_store
from kidney.training.lesion_predictions import CUT_OUT
from tests.helpers.lesion_sources import body, stores


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> list[SliceStore]:
    return stores(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="module")
def dataset(opened: list[SliceStore]) -> LesionDataset:
    return LesionDataset(opened, 96, folds=2)


def test_cut_outs_keep_image_and_mask_together(opened: list[SliceStore]):
    kits = opened[0]
    assert kits.images.shape == kits.masks.shape == (8, 112, 112)
    for image, mask in zip(kits.images, kits.masks, strict=True):
        assert image[mask == KIDNEY].mean() == pytest.approx(180, abs=8)
    assert kits.images[1][kits.masks[1] == TUMOR].mean() == pytest.approx(100, abs=8)


def test_a_store_is_made_once(opened: list[SliceStore], tmp_path: Path):
    again = stores(tmp_path)
    assert again[0].name != opened[0].name  # other files: their times differ
    assert (again[0].images == opened[0].images).all()


def test_the_same_draws_give_the_same_items(dataset: LesionDataset):
    first, second = (dataset.draw(np.random.default_rng(5)) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert torch.equal(torch.as_tensor(one), torch.as_tensor(other))


def test_items_are_greys_and_shares(dataset: LesionDataset):
    rng = np.random.default_rng(0)
    for _ in range(20):
        item = dataset.draw(rng)
        assert item.image.shape == (1, 96, 96)
        assert item.target.shape == item.known.shape == (4, 24, 24)
        assert item.image.min() >= 0
        assert item.image.max() <= 255
        assert item.target.min() >= 0
        assert item.target.max() <= 1
        assert (item.target[1:] <= item.target[:1] + 0.71).all()  # a lesion is inside the kidney


@pytest.mark.parametrize("as_served", [True, False])
def test_a_source_shown_as_served_keeps_its_greys(tmp_path: Path, as_served: bool):
    read = partial(readers.phantom, scans=1, slices=1, size=128, labelled=True)
    source = Source("phantom", {}, {"normal": 1.0}, read, as_served=as_served)
    store = open_store(source, tmp_path, tmp_path, CUT_OUT, 64)
    phantom, rng = LesionDataset([store], 64, folds=2), np.random.default_rng(0)
    kidneys = []
    for _ in range(20):
        item = phantom.item(0, 0, rng)
        shown = item.image[0, ::STRIDE, ::STRIDE][item.target[0] > 0.99]
        kidneys.append(float(shown.median()) if len(shown) else np.nan)
    assert (np.nanstd(kidneys) < 12) == as_served


def test_pools_are_drawn_by_their_shares_and_patients_alike(dataset: LesionDataset):
    rng = np.random.default_rng(0)
    pools, rows = Counter(), Counter()
    for _ in range(2000):
        number = int(rng.choice(len(dataset.pools), p=dataset._shares))
        pools[number] += 1
        patients = dataset.pools[number].patients
        rows[number, int(rng.integers(len(patients)))] += 1
    total = sum(pool.share for pool in dataset.pools)
    for number, pool in enumerate(dataset.pools):
        assert pools[number] / 2000 == pytest.approx(pool.share / total, abs=0.03)


def test_balance_is_by_patient(opened: list[SliceStore]):
    pool = next(p for p in LesionDataset(opened, 96, 2).pools if p.name == "cyst")
    assert [len(rows) for rows in pool.patients] == [2, 2, 2]


def test_an_item_knows_the_folds_and_sources_of_its_pixels(dataset: LesionDataset):
    rng = np.random.default_rng(1)
    for _ in range(40):
        item = dataset.draw(rng)
        pool = dataset.pools[item.pool]
        assert item.sources >> pool.store & 1
        assert item.folds in (1, 2, 3)


def test_a_patient_is_in_one_fold_and_classes_are_dealt_evenly(opened: list[SliceStore]):
    folds = assign_folds(opened[1].records, 3, "public")
    assert len(folds) == 12
    for label in ("normal", "cyst", "tumor", "stone"):
        patients = {one.patient for one in opened[1].records if one.label == label}
        assert {folds[patient] for patient in patients} == {0, 1, 2}
    assert folds == assign_folds(opened[1].records[::-1], 3, "public")


@pytest.mark.parametrize(
    ("known", "where"),
    [
        ("all", "everywhere"),
        ("drawn", "lesion"),
        ("outside", "not kidney"),
        ("none", "nowhere"),
    ],
)
def test_known_masks(known: str, where: str):
    mask = np.zeros((16, 16), np.uint8)
    mask[0:8, 0:8] = KIDNEY
    mask[8:12, 0:4] = TUMOR
    drawn = np.zeros(mask.shape, bool)
    record = SliceRecord("s", "p", "x", "f", "hu", (known, known, known, known))  # type: ignore[arg-type]
    _, found = targets(mask, drawn, record)
    expected = {
        "everywhere": np.ones((4, 4)),
        "lesion": np.array([[0, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]),
        "not kidney": np.array([[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]),
        "nowhere": np.zeros((4, 4)),
    }[where]
    assert (found[1].numpy() == expected).all()  # of the tumour


def test_a_pasted_cyst_is_known_where_cysts_are_not():
    mask = np.full((8, 8), KIDNEY, np.uint8)
    mask[0:4, 0:4] = 3
    record = SliceRecord("s", "p", "x", "f", "hu", ("all", "all", "outside", "all"))
    target, known = targets(mask, mask == 3, record)
    assert known[2].tolist() == [[1, 0], [0, 0]]
    assert target[2].tolist() == [[1, 0], [0, 0]]


def test_a_stone_of_a_pixel_is_a_target():
    mask = np.zeros((8, 8), np.uint8)
    mask[1, 6] = STONE
    record = SliceRecord("s", "p", "x", "f", "picture")
    target, _ = targets(mask, mask > 9, record)
    assert target[3].numpy() == pytest.approx(np.array([[0, 0.7], [0, 0]]))


def test_warping_moves_image_and_mask_alike():
    for seed in range(10):
        pixels, mask = body(np.random.default_rng(seed))
        image, moved = warp(pixels.astype(np.float32), mask, 80, np.random.default_rng(seed))
        inside = image[moved == KIDNEY]
        if len(inside) > 50:
            assert np.median(inside) == pytest.approx(180, abs=10)
