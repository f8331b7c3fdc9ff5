import http.client
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from kidney.artifact.integrity import check_seal
from kidney.errors import ArtifactError
from kidney.files import sha256
from kidney.serving.app import create_app
from kidney.serving.process.run import FETCHED, with_options
from kidney.serving.settings import from_environment
from tests.helpers.api_keys import make_key
from tests.helpers.pictures import encode, gradient
from tests.helpers.tiny_model import save_sealed, tiny_model
from tests.helpers.web import serving

ROOT = Path(__file__).parents[3]
SECONDS = 180  # a guard against a hang


def serve(*arguments: object, **settings: str) -> subprocess.Popen:
    environment = {name: value for name, value in os.environ.items() if "KIDNEY_" not in name}
    return subprocess.Popen(
        [sys.executable, "serve.py", "--port", "0", *map(str, arguments)],
        cwd=ROOT,
        env=environment | {"KIDNEY_AUTH": "off"} | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def server(model: Path) -> Iterator[subprocess.Popen]:
    process = serve("--model", model, "--threads", 1)
    yield process
    process.kill()
    process.communicate()


def test_it_serves_and_ends_gracefully(server):
    assert select.select([server.stdout], [], [], SECONDS)[0], "the server did not start"
    address = re.fullmatch(r"Serving on (http://127\.0\.0\.1:\d+)\n", server.stdout.readline())[1]

    for path in ("/healthz", "/readyz"):
        with urllib.request.urlopen(address + path, timeout=SECONDS) as response:
            assert response.status == 200

    boundary = uuid.uuid4().hex
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="secret.png"\r\n'
        "Content-Type: image/png\r\n\r\n"
    ).encode() + (encode(gradient()) + f"\r\n--{boundary}--\r\n".encode())
    request = urllib.request.Request(
        address + "/api/v1/predictions",
        body,
        {"Content-Type": f"multipart/form-data; boundary={boundary}", "X-Request-ID": "trace-1"},
    )
    with urllib.request.urlopen(request, timeout=SECONDS) as response:
        assert json.load(response)["predictions"][0]["size"] == [48, 64]

    server.send_signal(signal.SIGTERM)
    _, log = server.communicate(timeout=SECONDS)
    assert server.returncode == 0
    lines = [json.loads(line) for line in log.splitlines()]
    (line,) = (line for line in lines if line["request_id"] == "trace-1")
    assert (line["route"], line["status"]) == ("/api/v1/predictions", 200)
    assert "Traceback" not in log
    assert "secret" not in log


def test_a_missing_model_is_one_clear_message(tmp_path):
    process = serve("--model", tmp_path / "nothing.onnx")
    out, message = process.communicate(timeout=SECONDS)
    assert process.returncode == 2
    assert out == ""
    assert "no such file" in message
    assert "export.py" in message
    assert "Traceback" not in message
    assert len(message.splitlines()) == 2


def test_a_broken_model_is_one_clear_message(tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"hello")
    process = serve("--model", tmp_path / "broken.onnx")
    _, message = process.communicate(timeout=SECONDS)
    assert process.returncode == 2
    assert "Expected an ONNX model, but it cannot be read" in message
    assert "Traceback" not in message


def test_a_changed_byte_keeps_the_server_from_starting_and_the_hash_is_named(tmp_path, model):
    damaged = bytearray(model.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path = tmp_path / "kidney.onnx"
    path.write_bytes(damaged)
    process = serve("--model", path)
    out, message = process.communicate(timeout=SECONDS)
    assert (process.returncode, out) == (2, "")
    assert check_seal(model.read_bytes()) in message
    assert sha256(path) in message
    assert len(message.splitlines()) == 2


def test_another_model_than_the_one_asked_for_is_not_served(model):
    process = serve("--model", model, KIDNEY_MODEL_SHA256="0" * 64)
    _, message = process.communicate(timeout=SECONDS)
    assert process.returncode == 2
    assert "0" * 64 in message
    assert sha256(model) in message
    with pytest.raises(ArtifactError, match=sha256(model)):
        create_app(from_environment({"KIDNEY_MODEL": str(model), "KIDNEY_MODEL_SHA256": "0" * 64}))


def test_the_model_asked_for_is_served(model):
    digest = sha256(model).upper()  # as some tools write it
    create_app(from_environment({"KIDNEY_MODEL": str(model), "KIDNEY_MODEL_SHA256": digest}))


def test_it_fetches_the_model_that_it_is_told_to(model, tmp_path):
    here = tmp_path / "fetched" / "kidney.onnx"
    with serving(model.read_bytes(), beside={}) as web:
        process = serve("--model", here, KIDNEY_MODEL_FROM=web.url)
        assert select.select([process.stdout], [], [], SECONDS)[0], "the server did not start"
        process.send_signal(signal.SIGTERM)
        out, message = process.communicate(timeout=SECONDS)
    assert (process.returncode, out[:11]) == (0, "Serving on "), message
    assert here.read_bytes() == model.read_bytes()


def test_it_does_not_start_on_a_model_that_the_key_does_not_vouch_for(model, tmp_path):
    key = make_key(tmp_path / "key.pem")
    with serving(model.read_bytes(), beside={}) as web:
        process = serve(
            "--model",
            tmp_path / "fetched.onnx",
            KIDNEY_MODEL_FROM=web.url,
            KIDNEY_PUBLIC_KEY=str(key),
        )
        _, stderr = process.communicate(timeout=SECONDS)
    assert process.returncode == 2
    assert "Expected a signature" in stderr
    assert "Traceback" not in stderr
    assert not (tmp_path / "fetched.onnx").exists()


@pytest.mark.parametrize("option", ["--workers", "--threads"])
def test_a_count_of_zero_is_refused(model, option):
    process = serve("--model", model, option, 0)
    _, message = process.communicate(timeout=SECONDS)
    assert process.returncode == 2
    assert f"Expected KIDNEY_{option[2:].upper()} to be a whole number above 0" in message


def test_an_idle_connection_does_not_hold_up_the_end(server):
    address = server.stdout.readline().strip().removeprefix("Serving on http://")
    browser = http.client.HTTPConnection(address, timeout=SECONDS)
    browser.request("GET", "/readyz")
    assert browser.getresponse().read()

    server.send_signal(signal.SIGTERM)
    began = time.monotonic()
    server.communicate(timeout=SECONDS)
    assert time.monotonic() - began < 30, "it waited for the grace period of an idle connection"
    assert server.returncode == 0


def test_it_ends_without_a_crash_when_several_threads_compute(model):
    process = serve("--model", model, "--threads", 2)
    address = process.stdout.readline().strip().removeprefix("Serving on ")
    with urllib.request.urlopen(address + "/readyz", timeout=SECONDS) as response:
        assert response.status == 200
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    assert "SIGABRT" not in log
    assert "terminate" not in log


@pytest.mark.parametrize(
    ("environment", "options", "expected"),
    [
        ({}, {"model": "a.onnx"}, {"MODEL": "a.onnx"}),
        ({"MODEL": "a.onnx"}, {"model": None, "port": "0"}, {"MODEL": "a.onnx", "PORT": "0"}),
        ({"MODEL": "a.onnx", "PORT": "1"}, {"model": "b.onnx"}, {"MODEL": "b.onnx", "PORT": "1"}),
        (
            {},
            {"model": "models:/kidney@champion"},
            {"MODEL": FETCHED, "MODEL_FROM": "models:/kidney@champion"},
        ),
        (
            {"MODEL": "a.onnx"},
            {"model": "https://host/kidney.onnx"},
            {"MODEL": "a.onnx", "MODEL_FROM": "https://host/kidney.onnx"},
        ),
        ({"MODEL": "kidney@3"}, {}, {"MODEL": FETCHED, "MODEL_FROM": "kidney@3"}),
    ],
)
def test_an_option_overrides_its_variable(environment, options, expected):
    given = {f"KIDNEY_{name}": value for name, value in environment.items()}
    found = with_options(given, **options)
    assert found == {f"KIDNEY_{name}": value for name, value in expected.items()}


def test_the_model_option_names_where_the_model_comes_from(model, tmp_path):
    here = tmp_path / "kidney.onnx"
    with serving(model.read_bytes(), beside={}) as web:
        process = serve("--model", web.url, KIDNEY_MODEL=str(here))
        assert select.select([process.stdout], [], [], SECONDS)[0], "the server did not start"
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    assert here.read_bytes() == model.read_bytes()


def test_a_graph_that_no_worker_can_open_ends_the_server(tmp_path):
    """The first process reads the file and card; the graph is the workers' business."""
    proto = tiny_model()
    proto.graph.node[0].op_type = "NoSuchOperator"
    process = serve("--model", save_sealed(proto, tmp_path / "kidney.onnx"))
    _, message = process.communicate(timeout=SECONDS)
    assert process.returncode == 2
    assert "onnxruntime cannot open it" in message
    assert "Traceback" not in message
