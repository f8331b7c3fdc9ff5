"""The examples of the page about extending work as they stand."""

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from kidney.data.ingest import ingest
from kidney.data.phantom.files import write_class_folders
from kidney.serving.app import create_app
from kidney.serving.settings import Settings
from tests.helpers.doc_pages import ROOT, blocks
from tests.helpers.tiny_model import CLASSES, write_tiny_model

PAGE = "docs/extending.md"
BACKBONE, DATASET = blocks(PAGE, "yaml")
READER, ENDPOINT = blocks(PAGE, "python")


def module(name: str, source: str) -> Any:
    """Return the block as a module of that name."""
    made = types.ModuleType(name)
    sys.modules[name] = made  # pydantic looks up the names of annotations there
    exec(compile(source, name, "exec"), made.__dict__)
    return made


def keys_like(text: str, known: Path) -> None:
    assert set(OmegaConf.create(text)) == set(OmegaConf.load(known)), known.name


def test_the_backbone_has_the_keys_of_the_others_and_answers():
    keys_like(BACKBONE, ROOT / "conf/model/resnet50.yaml")
    # Random weights can only be trained as a whole.
    changes = {"weights": "none", "image_size": 64, "trainable": "network"}
    settings = OmegaConf.merge(OmegaConf.create(BACKBONE), changes)
    task = instantiate(settings, classes=list(CLASSES), lineage={}, _convert_="all")
    assert task.classifier.backbone.has_tail
    answer = task.classifier.eval()(torch.zeros(1, 1, 80, 80, dtype=torch.uint8))
    assert answer.probabilities.shape == (1, len(CLASSES))


def test_the_dataset_has_the_keys_of_the_others_and_is_ingested(tmp_path: Path):
    keys_like(DATASET, ROOT / "conf/data/ct_kidney.yaml")
    write_class_folders(tmp_path / "phantom", scans_per_class=1, size=64, max_slices=2)
    for ours, theirs in (("healthy", "Normal"), ("rcc", "Tumor")):
        target = tmp_path / "clinic" / "patient_7" / ours
        target.parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "phantom" / theirs).rename(target)
    config = OmegaConf.create({"data": OmegaConf.create(DATASET)})
    # In its file the keys stand below `data`, as Hydra puts them there.
    config.data.source = str(tmp_path / "clinic")
    slices = ingest(
        tmp_path / "ingested",
        fetch=instantiate(config.data.fetch, _partial_=True),
        read=instantiate(config.data.read, _partial_=True, _convert_="all"),
        origin="clinic",
        classes=list(config.data.classes),
    )
    assert set(slices["label"]) == {"normal", "tumor"}
    assert set(slices["patient"]) == {"patient_7"}


def test_the_reader_reads(tmp_path: Path):
    reader = module("clinic_reader", READER)
    drawn = np.random.default_rng(0).integers(0, 256, (3, 64, 48), dtype=np.uint8)
    np.save(tmp_path / "tumor-p7.npy", drawn)
    np.save(tmp_path / "what-p8.npy", drawn)
    found = [one for task in reader.read(tmp_path, classes={"tumor": ""}) for one in task()]
    assert [one.frame for one in found[:3]] == [0, 1, 2]
    assert {(one.label, one.patient) for one in found[:3]} == {("tumor", "p7")}
    assert (found[2].pixels == drawn[2]).all()
    assert "begins with no class" in found[3].reason


@pytest.mark.parametrize("auth", [True, False])
def test_the_endpoint_answers_and_is_guarded_like_all_others(tmp_path: Path, auth: bool):
    endpoint = module("kidney_classes_endpoint", ENDPOINT)
    keys = (f"a:{'0' * 64}",) if auth else ()
    model = write_tiny_model(tmp_path / "kidney.onnx")
    settings = Settings(model=model, threads=1, auth=auth, api_keys=keys)
    app: Any = create_app(settings)
    app.register_api(endpoint.blueprint(app.extensions["kidney.engine"], settings))
    client = app.test_client()
    answer = client.get("/api/v1/classes")
    if auth:
        assert answer.status_code == 401
    else:
        assert answer.get_json() == {"classes": list(CLASSES)}
    assert "/api/v1/classes" in client.get("/api/v1/openapi.json").get_json()["paths"]
