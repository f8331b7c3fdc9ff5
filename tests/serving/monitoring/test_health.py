import pytest

from kidney.artifact.predictor import Predictor
from kidney.errors import ArtifactError, ConfigError
from kidney.serving.app import create_app
from kidney.serving.settings import Settings, from_environment


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


def test_the_environment_sets_the_limits(model):
    environment = {
        "KIDNEY_MODEL": str(model),
        "KIDNEY_MODEL_FROM": "kidney@champion",
        "KIDNEY_MODEL_SHA256": "a" * 64,
        "KIDNEY_THREADS": "3",
        "KIDNEY_MAX_UPLOAD_BYTES": "1000",
        "KIDNEY_MAX_FILES": "2",
        "KIDNEY_MAX_PIXELS": "",
    }
    expected = Settings(
        model=model,
        model_sha256="a" * 64,
        model_from="kidney@champion",
        threads=3,
        max_upload_bytes=1000,
        max_files=2,
    )
    assert from_environment(environment) == expected
    assert from_environment({}) == Settings()


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5", "²"])
def test_a_limit_that_is_no_number_is_refused(value):
    with pytest.raises(ConfigError, match="KIDNEY_MAX_FILES"):
        from_environment({"KIDNEY_MAX_FILES": value})


def test_a_deadline_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="KIDNEY_DEADLINE_SECONDS to be seconds, more than 0"):
        from_environment({"KIDNEY_DEADLINE_SECONDS": "0"})
    assert from_environment({"KIDNEY_WATCH_SECONDS": "0"}).watch_seconds == 0
