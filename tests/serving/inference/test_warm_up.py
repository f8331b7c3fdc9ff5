import dataclasses
import json

import onnx
import pytest
from onnx import helper

from kidney.artifact.card import METADATA_KEY
from kidney.artifact.integrity import seal
from kidney.errors import ArtifactError
from kidney.imaging.dicom import read_dicom
from kidney.serving.app import create_app
from kidney.serving.inference import warm_up
from kidney.serving.settings import Settings
from tests.helpers.tiny_model import CARD, write_tiny_model


def test_the_sample_is_a_ct_slice():
    image = read_dicom(warm_up.sample(), "the sample")
    assert (image.hu.min(), image.hu.max()) == (-1024, 0)
    assert image.header.plane == "axial"


@pytest.mark.parametrize("part", ["decode", "encode"])
def test_a_model_answers_once_a_whole_request_succeeds(tmp_path, monkeypatch, part):
    path = write_tiny_model(tmp_path / "kidney.onnx")
    settings = Settings(model=path, threads=1, auth=False)
    with monkeypatch.context() as patch:
        patch.setattr(warm_up, part, lambda *_, **__: 1 / 0)
        assert create_app(settings).test_client().get("/readyz").status_code == 503
    app = create_app(settings)
    assert app.test_client().get("/readyz").status_code == 200
    write_tiny_model(path, card=dataclasses.replace(CARD, run="another-run"))
    engine, before = app.extensions["kidney.engine"], app.extensions["kidney.engine"].model
    with monkeypatch.context() as patch:
        patch.setattr(warm_up, part, lambda *_, **__: 1 / 0)
        assert not engine.swap()
    assert engine.model is before
    assert engine.swap()


def test_a_card_without_a_window_is_refused_by_its_name(tmp_path):
    path = write_tiny_model(tmp_path / "kidney.onnx")
    model = onnx.load(path)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    card = json.loads(metadata[METADATA_KEY]) | {"window": {}}
    helper.set_model_props(model, metadata | {METADATA_KEY: json.dumps(card)})
    onnx.save(model, path)
    seal(path)
    with pytest.raises(ArtifactError, match=r"window\.center"):
        create_app(Settings(model=path, auth=False))
