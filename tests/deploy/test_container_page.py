"""The commands of docs/container.md: what they name exists, and their settings start a server."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from kidney.serving.guards.access import check_auth
from kidney.serving.guards.keys import load_keys
from kidney.serving.settings import Settings, from_environment
from tests.deploy.test_compose import SECRETS, SERVICES
from tests.helpers.dockerfile import DOCKERFILE, ROOT, read, stages, variables
from tests.helpers.page_commands import PAGE, beginning, commands

ALONE = {"--detach", "--read-only"}  # the options of docker run without a value


def options(words: list[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """Return the options with their values, and the other words."""
    found: list[tuple[str, str]] = []
    rest: list[str] = []
    left = iter(words)
    for word in left:
        if word.startswith("--"):
            found.append((word, "" if word in ALONE else next(left)))
        else:
            rest.append(word)
    return found, rest


def test_every_command_has_a_test_here():
    kinds = {
        "docker build", "docker run", "docker inspect", "docker exec", "docker stop",
        "docker compose", "python -m", "python deploy/smoke.py", "python train.py",
        "python export.py", "python scripts/promote.py", "cp deploy/example.env",
        "deploy/try_image.sh",
    }  # fmt: skip
    assert {" ".join(command[:2]) for command in commands()} == kinds
    assert os.access(ROOT / "deploy/try_image.sh", os.X_OK)


def test_what_it_builds_can_be_built():
    arguments = {text.split("=")[0] for name, text in read(DOCKERFILE) if name == "ARG"}
    assert len(beginning("docker", "build")) >= 3
    for command in beginning("docker", "build"):
        found, rest = options(command[2:])
        assert rest == ["."]
        assert dict(found)["--target"] in stages(DOCKERFILE)
        assert {value.split("=")[0] for name, value in found if name == "--build-arg"} <= arguments


@pytest.mark.parametrize("command", beginning("docker", "run"), ids=lambda words: words[-1])
def test_what_it_runs_starts(command: list[str], tmp_path: Path):
    found, (image,) = options(command[2:])
    environment = dict(value.split("=", 1) for name, value in found if name == "--env")
    known = {f"KIDNEY_{name.upper()}" for name in vars(Settings())}
    assert set(environment) <= known | {"MLFLOW_TRACKING_URI"}
    # The file of keys, as the page has it made.
    entry = subprocess.run(
        [sys.executable, *beginning("python", "-m")[0][1:]],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    (tmp_path / "keys").write_text(re.search(r"radiology:[0-9a-f]{64}", entry)[0] + "\n")
    volumes = dict(value.split(":")[:2] for name, value in found if name == "--volume")
    assert environment["KIDNEY_API_KEYS_FILE"] == volumes.pop("./keys")
    environment["KIDNEY_API_KEYS_FILE"] = str(tmp_path / "keys")
    stage = stages(DOCKERFILE)
    defaults = variables(stage["server"] + stage[image.removeprefix("kidney:")])
    settings = from_environment(defaults | environment)
    check_auth(settings)
    assert [key.name for key in load_keys(settings)] == ["radiology"]
    assert bool(settings.model_from) == (image == "kidney:server")
    assert set(volumes.values()) <= {str(settings.model.parent)}
    (port,) = (value for name, value in found if name == "--publish")
    assert port == f"127.0.0.1:8000:{settings.port}"
    assert {"--read-only", "--tmpfs", "--cap-drop", "--security-opt"} <= {name for name, _ in found}
    if "--stop-timeout" in dict(found):
        assert int(dict(found)["--stop-timeout"]) >= settings.deadline_seconds + 10
    if settings.threads:
        assert settings.threads == int(dict(found)["--cpus"])


def test_later_commands_name_containers_services_and_modules_that_exist():
    names = {command[command.index("--name") + 1] for command in beginning("docker", "run")}
    for kind in ("inspect", "stop"):
        assert all(command[-1] in names for command in beginning("docker", kind))
    for _, _, name, python, option, module in beginning("docker", "exec"):
        assert (name in names, python, option) == (True, "python3", "-m")
        assert importlib.util.find_spec(module)
    for command in beginning("docker", "compose"):
        assert (ROOT / command[3]).is_file()
        assert {word for word in command[5:] if not word.startswith("--")} <= set(SERVICES)


def test_the_secrets_are_copied_to_where_compose_looks(tmp_path: Path):
    (command,) = beginning("cp")
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    subprocess.run(command, cwd=tmp_path, check=True)
    copy = tmp_path / command[-1]
    assert copy == tmp_path / "deploy" / ".env"
    assert set(re.findall(r"^(\w+)=$", copy.read_text(), re.M)) == set(SECRETS)


def test_training_and_promotion_take_these_settings():
    uri = f"http://{SERVICES['mlflow']['ports'][0].rsplit(':', 1)[0]}"
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        for command in beginning("python"):
            if command[1] not in ("-m", "deploy/smoke.py"):
                assert (ROOT / command[1]).is_file()
                assert compose("config", command[2:]).tracking.uri == uri


def test_the_sizes_of_its_table_add_up():
    text = PAGE.read_text("utf-8")
    parts = [int(size) for size in re.findall(r"^\| [^|]+ \| (\d+) \|$", text, re.M)]
    total = int(re.search(r"That is (\d+) MB", text)[1])
    assert abs(sum(parts) - total) <= 2
