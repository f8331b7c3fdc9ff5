"""A version is found and fetched from a real MLflow server, by whoever may ask it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from kidney.errors import ArtifactError, DataError
from kidney.files import sha256
from kidney.remote.fetch_model import fetch_model
from kidney.remote.mlflow_rest import Reference, find_version, read_reference
from kidney.tracking.registry import register, set_champion
from kidney.tracking.runs import Tracking
from tests.helpers.api_keys import make_key, sign
from tests.helpers.tiny_model import write_int8_beside, write_tiny_model
from tests.helpers.web import serving

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    for name in ("URI", "USERNAME", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    monkeypatch.delenv("KIDNEY_PUBLIC_KEY", raising=False)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an MLflow server of its own process."""
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = (
        f"-m mlflow server --host 127.0.0.1 --port {port} --workers 1 "
        f"--backend-store-uri sqlite:///{folder}/mlflow.db --artifacts-destination {folder}/files"
    )
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, *command.split()],
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"},
        )
    try:
        address = f"http://127.0.0.1:{port}"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        for _ in range(600):
            try:
                with opener.open(f"{address}/health", timeout=5):
                    break
            except OSError:
                assert process.poll() is None, (folder / "log").read_text()
                time.sleep(0.1)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


@pytest.fixture(scope="module")
def published(server: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder whose kidney.onnx, in both precisions and signed, is champion of the server."""
    folder = tmp_path_factory.mktemp("published")
    public = make_key(folder / "key.pem")
    artifact = write_tiny_model(folder / "kidney.onnx")
    for file in (artifact, write_int8_beside(artifact)):
        file.with_name(f"{file.name}.sig").write_bytes(sign(file, public.with_suffix(".pem")))
    tracking = Tracking(server, "kidney")
    version = register(tracking, "kidney", artifact, [], {"sha256": sha256(artifact)})
    set_champion(tracking, "kidney", version, instead_of=None)
    return folder


@pytest.mark.parametrize(
    "reference", ["kidney@champion", "kidney@1", "models:/kidney@champion", "models:/kidney/1"]
)
def test_a_version_comes_under_each_of_its_names(
    server: str, published: Path, tmp_path: Path, reference: str
):
    messages: list[str] = []
    out = tmp_path / "kidney.onnx"
    assert fetch_model(reference, out, tracking=server, log=messages.append) == out
    assert out.read_bytes() == (published / "kidney.onnx").read_bytes()
    assert "as the version's tag says" in messages[0]
    assert [file.name for file in tmp_path.iterdir()] == ["kidney.onnx"]


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_each_precision_comes_with_its_own_signature(
    server: str, published: Path, tmp_path: Path, precision: str
):
    out = tmp_path / "kidney.onnx"
    key = published / "key.pub"
    fetch_model("kidney@champion", out, tracking=server, precision=precision, public_key=key)
    name = {"float32": "kidney.onnx", "int8": "kidney.int8.onnx"}[precision]
    assert out.read_bytes() == (published / name).read_bytes()
    other = make_key(tmp_path / "other.pem")
    with pytest.raises(ArtifactError, match="does not verify"):
        fetch_model("kidney@1", out, tracking=server, precision=precision, public_key=other)
    assert not out.exists()


def test_the_command_asks_the_server_that_the_environment_names(
    server: str, published: Path, tmp_path: Path
):
    command = [sys.executable, ROOT / "scripts" / "fetch_model.py", "kidney@champion"]
    settings = os.environ | {"MLFLOW_TRACKING_URI": f"{server}/"}
    done = subprocess.run(command, cwd=tmp_path, env=settings, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "kidney.onnx").read_bytes() == (published / "kidney.onnx").read_bytes()


def test_a_version_whose_files_were_exchanged_is_refused(server: str, tmp_path: Path):
    tracking = Tracking(server, "kidney")
    artifact = write_tiny_model(tmp_path / "kidney.onnx")
    tags = {"sha256": sha256(artifact)}
    version = register(tracking, "exchanged", artifact, [], tags)
    other = write_tiny_model(tmp_path / "model.onnx", ood_score=True)
    tracking.client().log_artifact(version.run_id, str(other), "model")
    with pytest.raises(DataError, match=f"to have the SHA-256 {tags['sha256']}"):
        fetch_model("exchanged@1", tmp_path / "out.onnx", tracking=server)
    assert not (tmp_path / "out.onnx").exists()


@pytest.mark.usefixtures("published")
def test_another_hash_than_that_of_the_registry_is_refused(server: str, tmp_path: Path):
    with pytest.raises(ArtifactError, match="its registry says"):
        fetch_model("kidney@champion", tmp_path / "x.onnx", tracking=server, sha256="0" * 64)


def test_an_unsigned_version_is_refused_where_a_key_is_configured(
    server: str, published: Path, tmp_path: Path
):
    artifact = write_tiny_model(tmp_path / "kidney.onnx")
    register(Tracking(server, "kidney"), "unsigned", artifact, [], {"sha256": sha256(artifact)})
    key, out = published / "key.pub", tmp_path / "out.onnx"
    with pytest.raises(ArtifactError, match="there is none"):
        fetch_model("unsigned@1", out, tracking=server, public_key=key)
    with pytest.raises(ArtifactError, match=r"unsigned@1 to hold int8/kidney\.int8\.onnx"):
        fetch_model("unsigned@1", out, tracking=server, precision="int8")
    assert not out.exists()


def test_what_only_the_server_can_read_is_read_through_it(
    server: str, published: Path, tmp_path: Path
):
    tracking = Tracking(server, "on the disk of the server")
    tracking.client().create_experiment(tracking.experiment, (tmp_path / "disk").as_uri())
    artifact = write_tiny_model(tmp_path / "kidney.onnx")
    register(tracking, "on-disk", artifact, [], {"sha256": sha256(artifact)})
    out = tmp_path / "out.onnx"
    source = find_version(server, Reference("on-disk", "1"))
    assert "/model-versions/get-artifact?" in source.address
    fetch_model(source, out)
    assert out.read_bytes() == artifact.read_bytes()
    with pytest.raises(ArtifactError, match="there is none"):
        fetch_model("on-disk@1", out, tracking=server, public_key=published / "key.pub")


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("reference", ["kidney@nobody", "kidney@99", "liver@champion", "liver@1"])
def test_a_version_that_the_server_does_not_know_is_reported(
    server: str, tmp_path: Path, reference: str
):
    with pytest.raises(ArtifactError, match=f"to know {reference}") as refused:
        fetch_model(reference, tmp_path / "out.onnx", tracking=server)
    assert "promote.py" in refused.value.remedy


def test_a_host_name_that_the_server_does_not_allow_is_reported(
    server: str, monkeypatch: pytest.MonkeyPatch
):
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _, *more: real("127.0.0.1", *more))
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(DataError, match="HTTP 403") as refused:
        find_version(server.replace("127.0.0.1", "models.invalid"), Reference("kidney", "1"))
    assert "--allowed-hosts" in refused.value.remedy


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kidney@champion", Reference("kidney", "champion")),
        ("my model@3", Reference("my model", "3")),
        ("models:/kidney@champion", Reference("kidney", "champion")),
        ("models:/kidney/3", Reference("kidney", "3")),
        ("kidney", None),
        ("kidney/3", None),
        ("kidney@", None),
        ("models:/kidney", None),
        ("https://user@host/kidney", None),
        ("s3://bucket/kidney@1", None),
        ("./kidney@champion", None),
    ],
)
def test_the_names_of_versions(text: str, expected: Reference | None):
    assert read_reference(text) == expected


def answers(artifact_uri: str) -> dict[str, bytes]:
    """Return what a server says of version 1."""
    version = {"version": "1", "tags": [{"key": "sha256", "value": "0" * 64}]}
    api = "/api/2.0/mlflow"
    return {
        f"{api}/registered-models/alias?name=kidney&alias=champion": json.dumps(
            {"model_version": version}
        ).encode(),
        f"{api}/model-versions/get-download-uri?name=kidney&version=1": json.dumps(
            {"artifact_uri": artifact_uri}
        ).encode(),
    }


CHAMPION = Reference("kidney", "champion")
PROXY = "/api/2.0/mlflow-artifacts/artifacts/1/model/model.onnx"


@pytest.mark.parametrize(
    ("artifact_uri", "expected"),
    [
        ("s3://models/kidney", "s3://models/kidney/model.onnx"),
        ("https://files.org/kidney", "https://files.org/kidney/model.onnx"),
        ("mlflow-artifacts:/1/model", "SERVER" + PROXY),
        ("mlflow-artifacts://files.org:81/1/model", "http://files.org:81" + PROXY),
        (
            "gs://models/kidney",
            "SERVER/model-versions/get-artifact?name=kidney&version=1&path=model.onnx",
        ),
    ],
)
def test_files_are_fetched_from_where_the_server_keeps_them(
    monkeypatch: pytest.MonkeyPatch, artifact_uri: str, expected: str
):
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "secret")
    with serving(b"", beside=answers(artifact_uri)) as web:
        server = web.url.removesuffix("/set.zip")
        source = find_version(server, CHAMPION)
    assert source.address == expected.replace("SERVER", server)
    # The token is for the server alone.
    assert bool(source.headers) == expected.startswith("SERVER")


@pytest.mark.parametrize(
    ("environment", "user", "expected"),
    [
        ({}, "", None),
        ({"TOKEN": "secret"}, "", "Bearer secret"),
        ({"USERNAME": "ann", "PASSWORD": "p@ss:/"}, "", "Basic YW5uOnBAc3M6Lw=="),
        ({"USERNAME": "ann", "PASSWORD": "p@ss:/", "TOKEN": "s"}, "", "Basic YW5uOnBAc3M6Lw=="),
        ({"USERNAME": "bob", "PASSWORD": "x"}, "ann:p%40ss%3A%2F@", "Basic YW5uOnBAc3M6Lw=="),
        ({"USERNAME": "ann"}, "", None),
    ],
)
def test_the_account_is_sent_to_the_server(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], user: str, expected: str | None
):
    for name, value in environment.items():
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)
    with serving(b"", beside=answers("mlflow-artifacts:/1/model")) as web:
        server = web.url.removesuffix("/set.zip").replace("://", f"://{user}")
        find_version(server, CHAMPION)
        assert [asked.get("Authorization") for asked in web.asked] == [expected] * 2


@pytest.mark.parametrize("answer", [b"<html>", b"{}", b"[]", b'{"model_version": {}}'])
def test_what_is_no_mlflow_server_is_reported(answer: bytes):
    beside = dict.fromkeys(answers(""), answer)
    with serving(b"", beside=beside) as web, pytest.raises(ArtifactError, match="another kind"):
        find_version(web.url.removesuffix("/set.zip"), CHAMPION)


def test_a_server_that_does_not_answer_is_reported():
    with pytest.raises(DataError, match=r"http://127\.0\.0\.1:9/.* cannot be reached"):
        find_version("http://127.0.0.1:9", CHAMPION)
