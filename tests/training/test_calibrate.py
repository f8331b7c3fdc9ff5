"""The score is fitted on training slices and tells other pictures from CT of kidneys."""

import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn.datasets
import torch

from kidney.data.datamodule import KidneyDataModule
from kidney.data.split import Split
from kidney.imaging.pictures import decode_picture
from kidney.models.classifier import KidneyClassifier
from kidney.models.ood import HISTOGRAM_BINS
from kidney.models.prepare import prepare
from kidney.training.calibrate import (
    SLICES_PER_SCAN,
    fit_ood,
    measure_ood,
    ood_scores,
    predict,
    spread_rows,
)
from tests.helpers.small_network import BACKBONE, CLASSES, IMAGE_SIZE, random_slices

SLICES = list(random_slices(12)[:, 0].numpy())
SCANS = list("aabbccddeeff")
PHOTOGRAPHS = Path(sklearn.datasets.__file__).parent / "images"


def classifier_of(weights: str = "none", backbone: str = BACKBONE) -> KidneyClassifier:
    torch.manual_seed(0)
    size = IMAGE_SIZE if weights == "none" else 192
    return KidneyClassifier(backbone, weights, size, [-1], 0.0, len(CLASSES)).eval()


def data_of(slices: list[np.ndarray], scans: list[str], size: int) -> KidneyDataModule:
    """A data module of these slices, without a folder."""
    table, split = pd.DataFrame({"scan": scans}), Split("by_patient", "patient", 3, 0, "", {})
    data = KidneyDataModule(
        Path(), table, CLASSES, split, 0, 1, partial(prepare, size=size), 4, 0, 0, SLICES_PER_SCAN
    )
    data.cache = slices  # type: ignore[assignment]  all that is asked of it is a slice by its row
    data.labels = np.zeros(len(slices), dtype=np.int64)
    return data


def test_images_and_their_features_fit_the_same_score():
    data, rows = data_of(SLICES, SCANS, IMAGE_SIZE), np.arange(8)
    from_images, from_features = classifier_of(), classifier_of()
    fit_ood(from_images, data, rows)
    with torch.inference_mode():
        images = prepare(torch.from_numpy(np.stack(SLICES))[:, None], IMAGE_SIZE)
        plain = from_features.embed(images).numpy()
    # Rows that it was not told to fit on, and augmented copies, do not count.
    plain[8:] = 1e6
    data.features = [plain, np.full_like(plain, -1e6)]
    fit_ood(from_features, data, rows)
    torch.testing.assert_close(
        ood_scores(from_images, SLICES), ood_scores(from_features, SLICES), atol=1e-4, rtol=1e-4
    )


def test_batches_and_single_slices_get_the_same_score():
    classifier, data = classifier_of(), data_of(SLICES, SCANS, IMAGE_SIZE)
    fit_ood(classifier, data, np.arange(8))
    images = prepare(torch.from_numpy(np.stack(SLICES))[:, None], IMAGE_SIZE)
    embedding = classifier.embed(images).detach()
    assert embedding.shape[1] == classifier.backbone.channels + HISTOGRAM_BINS
    alone = ood_scores(classifier, SLICES)
    for batches in ([{"images": images}], [{"features": embedding}]):
        raw = predict(classifier, batches)  # type: ignore[arg-type]  as a loader gives them
        np.testing.assert_allclose(raw.ood_scores, alone, rtol=1e-4, atol=1e-4)


def test_rows_are_spread_over_each_scan_and_short_scans_kept_whole():
    scans = np.array(["long"] * 40 + ["short"] * 3)
    rows = spread_rows(scans, SLICES_PER_SCAN)
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert (rows < 40).sum() == SLICES_PER_SCAN
    assert {0, 39, 40, 41, 42} <= set(rows.tolist())
    assert np.diff(rows[rows < 40]).max() <= 6


def test_every_kind_is_measured_also_those_that_are_read():
    predictions = pd.DataFrame({"scan": SCANS, "ood_score": np.zeros(12)})

    def brightness(slices: Any) -> np.ndarray:
        return np.array([slice_.mean() for slice_ in slices])

    found = measure_ood(brightness, predictions, SLICES, 1.0, {"photograph": PHOTOGRAPHS})
    kinds = {"noise", "flat", "inverted", "thorax", "photograph"}
    assert set(found) == {"refused_own"} | {f"{w}_{k}" for w in ("auroc", "refused") for k in kinds}
    assert found["refused_own"]["value"] == 0.0
    assert found["auroc_photograph"]["value"] == found["refused_photograph"]["value"] == 1.0


@pytest.fixture(scope="module")
def mini(shared: Path) -> tuple[list[np.ndarray], list[str]]:
    """Two slices of each of 20 real scans; six slices in a row are one."""
    slices, scans = [], []
    with zipfile.ZipFile(shared / "data/ct-kidney-mini.zip") as packed:
        names = [name for name in packed.namelist() if name.endswith(".jpg")]
        names.sort(key=lambda name: (name.split("/")[-2], int(name.split("(")[1].split(")")[0])))
        for number, name in enumerate(names):
            if number % 3 == 0:
                slices.append(decode_picture(packed.read(name)))
                scans.append(f"scan{number // 6}")
    return slices, scans


def test_real_slices_are_told_from_photographs_noise_and_chests(
    shared: Path, mini: tuple[list[np.ndarray], list[str]]
):
    weights = shared / "weights/tf_efficientnet_lite0-imagenet.fp16.safetensors"
    classifier, (slices, scans) = classifier_of(str(weights), "tf_efficientnet_lite0"), mini
    held_out = np.array([scan in {"scan1", "scan6", "scan11", "scan16"} for scan in scans])
    fit_ood(classifier, data_of(slices, scans, 192), np.flatnonzero(~held_out))
    own = [slices[row] for row in np.flatnonzero(held_out)]
    predictions = pd.DataFrame(
        {
            "scan": [scans[row] for row in np.flatnonzero(held_out)],
            "ood_score": ood_scores(classifier, own),
        }
    )
    score, ood_sets = partial(ood_scores, classifier), {"photograph": PHOTOGRAPHS}
    found = measure_ood(score, predictions, own, 1.0, ood_sets)
    for kind in ("photograph", "noise", "flat", "inverted"):
        assert found[f"auroc_{kind}"]["value"] >= 0.99, kind
    assert found["auroc_thorax"]["value"] >= 0.9
