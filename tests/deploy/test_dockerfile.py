"""What can be tested of the Dockerfiles without an engine; hadolint runs in `make check`."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from kidney.serving.settings import from_environment
from tests.helpers.dockerfile import (
    DOCKERFILE,
    MLFLOW,
    ROOT,
    argv,
    one,
    read,
    sent,
    stages,
    variables,
)

BOTH = pytest.mark.parametrize("path", [DOCKERFILE, MLFLOW], ids=lambda path: path.name)


def test_both_images_have_the_same_base_with_a_tag():
    bases = {dict(reversed(read(path)))["ARG"] for path in (DOCKERFILE, MLFLOW)}
    (base,) = bases
    assert re.fullmatch(r"PYTHON_IMAGE=docker\.io/library/python:3\.\d+-slim-[a-z]+", base)
    origins = [text for name, text in read(DOCKERFILE) if name == "FROM"]
    own = "${PYTHON_IMAGE}"
    assert origins == [f"{own} AS build", f"{own} AS server", "server AS with-model"]


@BOTH
def test_it_runs_as_a_fixed_user_without_rights(path: Path):
    stage = stages(path)["server" if path == DOCKERFILE else "0"]
    names = [name for name, _ in stage]
    assert one(stage, "USER") == "10001:10001"
    assert not {"RUN", "COPY", "ADD"} & set(names[names.index("USER") :]), "as which user?"
    assert "USER" not in [name for name, _ in stages(path).get("with-model", [])]


@BOTH
def test_no_shell_stands_between_a_signal_and_the_server(path: Path):
    stage = stages(path)["server" if path == DOCKERFILE else "0"]
    for name in ("HEALTHCHECK", "CMD"):
        assert argv(stage, name)[0] not in ("sh", "bash", "/bin/sh")


def test_the_context_holds_what_is_copied_and_nothing_else(tmp_path: Path):
    files = [
        "pyproject.toml", "constraints.txt", "README.md", "LICENSE", "kidney/serving/static/a.js",
        "artifacts/kidney.onnx", "models/kidney.onnx", "requirements/server.txt",
    ]  # fmt: skip
    kept_back = [
        ".git/config", ".env", "deploy/.env", "data/ct_kidney/a.jpg", "artifacts/other.onnx",
        "mlflow.db", "tests/keys.py", "kidney/__pycache__/errors.cpython-311.pyc", "id_ed25519",
        "artifacts/kidney.onnx.unchecked",
    ]  # fmt: skip
    for name in (*files, *kept_back):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert {name for name in sent(tmp_path) if (tmp_path / name).is_file()} == set(files)
    for path in (DOCKERFILE, MLFLOW):
        for name, text in read(path):
            assert name != "ADD"
            if name == "COPY" and "--from" not in text:
                sources = [word for word in text.split()[:-1] if not word.startswith("--")]
                assert set(sources) <= {*files, "kidney", "requirements", "${MODEL}"}
    assert all((ROOT / name).exists() for name in files[:4])


@BOTH
def test_it_holds_no_secret(path: Path):
    names = set(re.findall(r"(?:ENV|ARG)\s+(\w+)", path.read_text("utf-8")))
    names |= variables(read(path)).keys()
    assert not [name for name in names if re.search("KEY|SECRET|TOKEN|PASSWORD", name)]


def test_its_variables_are_settings_and_work():
    environment = variables(read(DOCKERFILE))
    settings = from_environment(environment)  # the last one of a variable counts
    assert (settings.host, settings.auth) == ("0.0.0.0", True)
    assert str(settings.port) == one(read(DOCKERFILE), "EXPOSE")


def test_what_the_build_runs_is_there():
    """`python -m` of a module that prints nothing would pass any model."""
    for module in re.findall(r'"-m", "([\w.]+)"', DOCKERFILE.read_text("utf-8")):
        path = ROOT / module.replace(".", "/")
        main = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
        assert '__name__ == "__main__"' in main.read_text("utf-8"), module


@pytest.mark.parametrize("part", ["server", "s3", "verify", "deploy", "build"])
def test_what_images_install_has_the_versions_of_the_constraints_and_hashes(part: str):
    text = (ROOT / "requirements" / f"{part}.txt").read_text()
    locked = [entry for entry in re.split(r"\n(?=\S)", text) if entry]
    rows = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {
        canonicalize_name(name): version for name, _, version in (r.partition("==") for r in rows)
    }
    names = set()
    for entry in locked:
        requirement = Requirement(entry.partition(" \\")[0])
        assert "--hash=sha256:" in entry
        assert str(requirement.specifier) == f"=={pinned[canonicalize_name(requirement.name)]}"
        names.add(canonicalize_name(requirement.name))
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    wanted = project["dependencies"] + project["optional-dependencies"].get(part, [])
    wanted = ["setuptools"] if part == "build" else wanted
    assert {canonicalize_name(Requirement(one).name) for one in wanted} <= names, (
        "run scripts/lock.sh"
    )


def test_images_and_the_workflow_with_a_token_install_by_hash_only():
    workflow = (ROOT / ".github/workflows/cd.yml").read_text().splitlines()
    installs = [line for line in workflow if "pip install" in line]
    build = [text for name, text in stages(DOCKERFILE)["build"] if name == "RUN"]
    installs += re.findall(r"pip [^|&;]*install [^|&;]*", " ".join(build))
    assert len(installs) == 5
    for line in installs:
        is_own_wheel = "--no-deps --target /app /wheels" in line
        assert is_own_wheel or "--require-hashes" in line, line
    assert any("wheel" in text and "--no-build-isolation" in text for text in build)
