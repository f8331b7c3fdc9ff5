from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from kidney.serving.app import create_app
from kidney.serving.settings import Settings
from tests.helpers.tiny_model import write_tiny_model


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "kidney.onnx")


@pytest.fixture
def app(model: Path) -> Flask:
    settings = Settings(model=model, threads=1, max_upload_bytes=1_000_000, max_files=4, auth=False)
    return create_app(settings)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def send(client: FlaskClient) -> Callable[..., TestResponse]:
    """Post the bytes of files in the field `file`, each under the name secret-NUMBER.jpg."""

    def post(*files: bytes, to: str = "/api/v1/predictions", **options: Any) -> TestResponse:
        parts = [(BytesIO(data), f"secret-{number}.jpg") for number, data in enumerate(files)]
        return client.post(to, data={"file": parts}, **options)

    return post
