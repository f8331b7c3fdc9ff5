"""The image's commands in a clean environment, as user 10001, on files that it may only read."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kidney.files import sha256
from kidney.serving.guards.keys import entry, new_key
from tests.helpers.dockerfile import DOCKERFILE, ROOT, one, stages, write_context
from tests.helpers.replay import USER, Machine, machine, owned
from tests.helpers.web import serving

SECONDS = 120
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built() -> Iterator[Machine]:
    """What `docker build --target with-model` makes, with the tiny model."""
    with machine(ROOT) as made:
        made.context = write_context(made.root / "context")
        for name, stage in stages(DOCKERFILE).items():
            if name == "server":
                made.variables.clear()  # those of the stage before stay there
            made.build(stage)
        yield made


def served(built: Machine, folder: Path, **settings: str) -> str:
    """Start the image's CMD, ask, check its health, end it; return its log."""
    key = new_key()
    (folder / "key").write_text(key)
    log = folder / "log"
    stage = stages(DOCKERFILE)["server"]
    own = {"KIDNEY_HOST": "127.0.0.1", "KIDNEY_PORT": "0", "KIDNEY_API_KEYS": entry("test", key)}
    assert "HOME" not in built.environment()
    with log.open("w") as written:
        process = built.start(
            one(stage, "CMD").argv, env=own | settings, stdout=subprocess.PIPE, stderr=written
        )
    try:
        line = process.stdout.readline()
        address = re.fullmatch(r"Serving on (http://127\.0\.0\.1:(\d+))\n", line)
        assert address, log.read_text()
        model = sha256(built.context / "artifacts" / "kidney.onnx")
        smoke = [sys.executable, ROOT / "deploy" / "smoke.py", "--url", address[1]]
        smoke += ["--key-file", folder / "key", "--expect-model", model]
        subprocess.run(smoke, check=True, timeout=SECONDS)
        health = one(stage, "HEALTHCHECK").argv
        assert built.run(health, env={"KIDNEY_PORT": address[2]}) == "/readyz: 200\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=SECONDS) == 0
    finally:
        process.kill()
        process.communicate()
    return log.read_text()


def test_it_serves_the_model_that_is_baked_in(built: Machine, tmp_path: Path):
    before = owned()
    assert built.user == USER
    assert "Traceback" not in served(built, tmp_path)
    left = {path for path in owned() - before if not path.is_relative_to(built.path("/tmp"))}
    assert left == set()


def test_it_serves_a_model_that_it_fetches_into_its_volume(built: Machine, tmp_path: Path):
    model = built.context / "artifacts" / "kidney.onnx"
    before = owned()
    volume = built.path("/models")
    assert volume.stat().st_uid == USER
    with serving(model.read_bytes(), beside={}) as web:
        log = served(
            built,
            tmp_path,
            KIDNEY_MODEL=str(volume / "kidney.onnx"),
            KIDNEY_MODEL_FROM=web.url,
            KIDNEY_MODEL_SHA256=sha256(model),
        )
    assert "as given" in log
    places = (volume, built.path("/tmp"))
    left = {path for path in owned() - before if not any(map(path.is_relative_to, places))}
    assert left == set()
    assert (volume / "kidney.onnx").read_bytes() == model.read_bytes()


def test_it_may_write_nowhere_else(built: Machine):
    code = (
        "import os; print([place for place, folders, _ in os.walk('/opt/venv') "
        "for place in (place, '/app', '/srv', '/src') if os.access(place, os.W_OK)])"
    )
    assert built.run(["python3", "-c", built.text(code)]) == "[]\n"


def test_nothing_of_the_training_and_no_installer_is_inside(built: Machine):
    code = "import importlib.metadata as m; print(*{d.name.lower() for d in m.distributions()})"
    inside = set(built.run(["python3", "-c", code]).split())
    unwanted = {"torch", "timm", "pytorch-lightning", "mlflow", "pandas", "scipy", "scikit-learn"}
    assert not inside & (unwanted | {"pip", "setuptools", "wheel", "pytest", "onnx"})
    assert {"kidney-tumor-identification", "boto3", "cryptography", "onnxruntime"} <= inside
    base = {path.name.split("-")[0] for path in built.path("/base/lib").rglob("*.dist-info")}
    assert base == set()


def test_what_is_inside_has_the_locked_versions(built: Machine):
    code = "import importlib.metadata as m; [print(d.name, d.version) for d in m.distributions()]"
    found = {}
    for line in built.run(["python3", "-c", code]).splitlines():
        name, version = line.split()
        found[re.sub(r"[-_.]+", "-", name).lower()] = version
    locked = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if not line.startswith("#"):
            name, version = line.split("==")
            locked[re.sub(r"[-_.]+", "-", name).lower()] = version
    del found["kidney-tumor-identification"]
    assert found == {name: locked.get(name) for name in found}
