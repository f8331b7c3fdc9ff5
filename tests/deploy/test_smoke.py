"""What asks a running server after a deployment."""

import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deploy import smoke
from kidney.files import sha256
from kidney.serving.guards.keys import entry, new_key
from tests.helpers.dockerfile import DOCKERFILE, ROOT, argv, stages
from tests.helpers.page_commands import beginning
from tests.helpers.server_process import Server, serving
from tests.helpers.tiny_model import write_tiny_model
from tests.helpers.web import serving as web

KEY = new_key()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "kidney.onnx")


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[Server]:
    with serving(model, auth="on", api_keys=entry("smoke", KEY)) as running:
        yield running


@pytest.fixture
def ask(server: Server, tmp_path: Path, monkeypatch, capsys):
    """Call it with arguments; return its status and what it said on stdout and stderr."""

    def call(*arguments: object, url: str = f"http://{server.address}/", key: str = KEY):
        (tmp_path / "key").write_text(f"{key}\n")
        given = ["--url", url, "--key-file", tmp_path / "key", *arguments]
        monkeypatch.setattr(sys, "argv", ["smoke.py", *map(str, given)])
        status = smoke.main()
        return status, *capsys.readouterr()

    return call


def test_a_server_that_works_passes(ask, model: Path):
    status, out, problem = ask("--expect-model", sha256(model).upper())
    assert (status, problem) == (0, "")
    assert [line[:3] for line in out.splitlines()] == ["ok:"] * 3
    assert "tiny-run" in out


def test_it_is_called_as_the_page_says_and_needs_nothing_but_python(server: Server, tmp_path: Path):
    (command,) = beginning("python", "deploy/smoke.py")
    (tmp_path / "key").write_text(KEY)
    command[command.index("--url") + 1] = f"http://{server.address}"
    command[command.index("--key-file") + 1] = str(tmp_path / "key")
    assert subprocess.run([sys.executable, "-I", "-S", *command[1:]], cwd=ROOT).returncode == 0


def test_another_model_fails(ask, model: Path):
    status, _, problem = ask("--expect-model", "0" * 64)
    assert status == 1
    assert "0" * 64 in problem
    assert sha256(model) in problem


def test_another_key_fails_and_is_not_shown(ask):
    secret = new_key()
    status, _, problem = ask(key=secret)
    assert status == 1
    assert "401" in problem or "403" in problem
    assert secret not in problem
    assert len(problem.splitlines()) == 1


def test_a_server_that_never_gets_ready_fails(ask, monkeypatch):
    monkeypatch.setattr(smoke, "SECONDS", 0.1)
    status, out, problem = ask(url="http://127.0.0.1:9")  # discard: nobody listens
    assert (status, out) == (1, "")
    assert "refused" in problem


def test_a_server_that_is_still_starting_is_waited_for(ask):
    with web(b'{"sha256": "abc"}', statuses=[503, 502], beside=None) as other:
        status, out, _ = ask(url=other.url.rsplit("/", 1)[0])
    assert out == "ok: ready, with the model abc\n"
    assert status == 1  # it knows no predictions


def test_what_is_no_server_of_ours_fails(ask):
    with web(b"hello", beside=None) as other:
        status, out, problem = ask(url=other.url.rsplit("/", 1)[0])
    assert (status, out) == (1, "")
    assert problem.startswith("FAILED")


def test_probabilities_have_to_add_up(ask, monkeypatch):
    answer = {"predictions": [{"probabilities": {"a": 0.5, "b": 0.4}}], "sha256": "abc"}
    monkeypatch.setattr(smoke, "_ask", lambda _: answer)
    status, _, problem = ask()
    assert status == 1
    assert "add up to 1" in problem


def test_its_picture_is_a_grey_png():
    with Image.open(BytesIO(smoke.grey_png())) as picture:
        picture.load()
        assert (picture.format, picture.mode) == ("PNG", "L")
        assert np.array(picture).tolist() == [[128] * 64] * 64


def probe(port: str, **more: str) -> subprocess.CompletedProcess[str]:
    words = argv(stages(DOCKERFILE)["server"], "HEALTHCHECK")
    assert words[0] == "python3"
    environment = {"KIDNEY_PORT": port, "PYTHONPATH": str(ROOT), **more}
    return subprocess.run(
        [sys.executable, *words[1:]], env=environment, capture_output=True, text=True
    )


def test_the_health_check_of_the_image_passes_where_the_server_is_ready(server: Server):
    port = server.address.rsplit(":", 1)[1]
    assert probe(port).returncode == 0
    assert probe(port, HTTP_PROXY="http://127.0.0.1:9", http_proxy="http://127.0.0.1:9").stdout == (
        "/readyz: 200\n"
    )


def test_the_health_check_of_the_image_fails_where_it_is_not():
    assert probe("9").returncode == 1
    with web(b"", statuses=[503]) as other:
        done = probe(other.url.rsplit(":", 1)[1].split("/")[0])
    assert (done.returncode, done.stdout) == (1, "/readyz: 503\n")
