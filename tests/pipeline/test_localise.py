"""A model on slices with drawn lesions: figures, files and the page."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from kidney.data.masks import read_masked_slices
from kidney.data.phantom.files import write_class_folders
from kidney.errors import DataError
from kidney.evaluation.result import Localisation
from kidney.models.classifier import KidneyClassifier
from kidney.pipeline.localise import Explained, embedded, explain_with, localise, measure
from tests.helpers.small_network import BACKBONE, CLASSES, IMAGE_SIZE

PHANTOM = {"scans_per_class": 1, "seed": 3, "size": 96, "max_slices": 2}
MODEL = {"backbone": BACKBONE, "run": "a-run", "code": "0000000"}


@pytest.fixture(scope="module")
def masked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("masked") / "phantom"
    write_class_folders(folder, **PHANTOM)
    return read_masked_slices(folder)


@pytest.fixture(scope="module")
def explain():
    torch.manual_seed(3)
    return explain_with(
        KidneyClassifier(BACKBONE, "none", IMAGE_SIZE, [-1], 0.0, len(CLASSES)).eval()
    )


def oracle(masked):
    """A model that has seen the masks: its evidence is the lesion itself, in its own region."""
    by_pixels = {one.pixels.tobytes(): one for one in masked}

    def explain(slice_, target):
        lesion = by_pixels[slice_.tobytes()].lesion
        evidence = np.zeros((len(CLASSES), 60, 60), np.float32)
        evidence[target] = lesion[10:70, 20:80]
        return Explained(evidence, (10.0, 20.0, 70.0, 80.0), None)

    return explain


def test_a_model_that_knows_the_lesions_finds_them_all(masked):
    inner = [one for one in masked if one.lesion[10:70, 20:80].sum() == one.lesion.sum()]
    assert len(inner) >= 3
    maps, pictures, table = measure(oracle(inner), CLASSES, inner)
    assert maps["relative"]["peak_inside"]["value"] == 1
    assert maps["relative"]["iou_best"]["value"] == 1
    assert maps["evidence"]["positive_inside"]["value"] == 1
    assert "grad_cam" not in maps
    assert table["peak_inside"].tolist() == [1] * len(inner)
    assert table["path"].tolist() == [one.path for one in inner]
    assert len(pictures) == len(inner)
    assert pictures[0][0].startswith(b"\x89PNG")
    assert "inside" in pictures[0][1]


def test_a_classifier_is_measured_with_grad_cam_beside_it(masked, explain):
    maps, _, _ = measure(explain, CLASSES, masked)
    assert list(maps) == ["relative", "evidence", "grad_cam"]
    figures = embedded(maps)
    assert figures["peak_inside"] == maps["relative"]["peak_inside"]
    assert figures["grad_cam_peak_inside"] == maps["grad_cam"]["peak_inside"]
    assert {f"peak_inside_{label}" for label in ("cyst", "stone", "tumor")} < set(figures)
    assert all(0 <= figures[name]["value"] <= 1 for name in ("peak_inside", "iou", "chance"))


def test_a_lesion_that_the_model_has_no_class_for_is_refused(masked, explain):
    with pytest.raises(DataError, match="masks show lipoma"):
        measure(explain, CLASSES, [replace(masked[0], label="lipoma")])


def test_figures_and_page_are_written(tmp_path: Path, explain):
    fetch = {"_target_": "kidney.data.phantom.files.write_class_folders", **PHANTOM}
    data = {"name": "phantom", "source": "phantom", "default_source": "phantom", "fetch": fetch}
    cfg = OmegaConf.create(
        {"workspace": str(tmp_path), "artifacts": str(tmp_path / "artifacts"), "data": data}
    )
    result, folder = localise(cfg, explain, CLASSES, MODEL)
    assert Localisation.model_validate_json((folder / "localisation.json").read_text()) == result
    assert (result.slices, result.patients) == (6, 3)
    page = (folder / "localisation.html").read_text()
    assert page.count("<img") == 6
    assert "Grad-CAM" in page
    assert "Tumor- (1).jpg" in page
