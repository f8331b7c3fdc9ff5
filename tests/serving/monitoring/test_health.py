import pytest

from kidney.artifact.predictor import Predictor
from kidney.errors import ArtifactError
from kidney.serving.app import create_app
from kidney.serving.settings import Settings


def test_up_and_ready(client):
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 200


def test_a_model_that_cannot_predict_is_up_but_not_ready(model, monkeypatch):
    def fail(*_: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Predictor, "predict", fail)
    client = create_app(Settings(model=model, auth=False)).test_client()
    assert client.get("/healthz").status_code == 200
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.content_type == "application/problem+json"


def test_the_warm_up_is_done_before_the_first_request(model, monkeypatch):
    calls = []
    monkeypatch.setattr(Predictor, "predict", lambda _, slices: calls.append(len(slices)))
    client = create_app(Settings(model=model, auth=False)).test_client()
    assert calls == [1]
    client.get("/readyz")
    assert calls == [1]


def test_without_a_model_there_is_no_app(tmp_path):
    with pytest.raises(ArtifactError, match="no such file"):
        create_app(Settings(model=tmp_path / "kidney.onnx"))
