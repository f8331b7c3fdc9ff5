"""The commands of docs/container.md: run where no engine is needed, else held to what they name."""

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

# The options of docker run that the page may use, those with a value first.
WITH_VALUE = {
    "--name", "--publish", "--tmpfs", "--cap-drop", "--security-opt", "--memory", "--cpus",
    "--pids-limit", "--stop-timeout", "--env", "--volume",
}  # fmt: skip
ALONE = {"--detach", "--read-only"}
OTHERS = {"MLFLOW_TRACKING_URI"}  # variables of other programs


def options(words: list[str], known: set[str], alone: set[str] = frozenset()):
    """Return options with their values, and what is left; fail at an unknown one."""
    found: list[tuple[str, str]] = []
    rest: list[str] = []
    words = list(words)
    while words:
        word = words.pop(0)
        if word in alone:
            found.append((word, ""))
        elif word.startswith("--"):
            assert word in known, word
            found.append((word, words.pop(0)))
        else:
            rest.append(word)
    return found, rest


def test_every_command_is_held_by_a_test_here():
    kinds = {
        "docker build", "docker run", "docker inspect", "docker exec", "docker stop",
        "docker compose", "python -m", "python deploy/smoke.py", "python train.py",
        "python export.py", "python scripts/promote.py", "cp deploy/example.env",
    }  # fmt: skip
    found = {" ".join(command[:2]) for command in commands()}
    assert found == kinds | {"deploy/try_image.sh"}


def test_what_it_builds_can_be_built():
    tags = []
    for command in beginning("docker", "build"):
        found, rest = options(command[2:], {"--target", "--tag", "--build-arg"})
        assert rest == ["."], rest
        assert dict(found)["--target"] in stages(DOCKERFILE)
        arguments = {each.text.split("=")[0] for each in read(DOCKERFILE) if each.name == "ARG"}
        assert {value.split("=")[0] for name, value in found if name == "--build-arg"} <= arguments
        tags.append(dict(found)["--tag"])
    assert tags[:2] == ["kidney:server", "kidney:with-model"]
    assert len(tags) == 3


@pytest.mark.parametrize("command", beginning("docker", "run"), ids=lambda words: words[-1])
def test_what_it_runs_starts(command: list[str], tmp_path: Path):
    found, (image,) = options(command[2:], WITH_VALUE, ALONE)
    assert image in ("kidney:server", "kidney:with-model")
    given = [value for name, value in found if name == "--env"]
    environment = dict(value.split("=", 1) for value in given)
    known = {f"KIDNEY_{name.upper()}" for name in vars(Settings())} | OTHERS
    assert set(environment) <= known
    stage = stages(DOCKERFILE)
    image_variables = variables(stage["server"] + stage[image.split(":")[1]])
    # The file of keys, as the page has it made.
    entry = subprocess.run(
        [sys.executable, *beginning("python", "-m")[0][1:]],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    (tmp_path / "keys").write_text(re.search(r"radiology:[0-9a-f]{64}", entry)[0] + "\n")
    volumes = dict(value.split(":")[:2] for name, value in found if name == "--volume")
    assert environment["KIDNEY_API_KEYS_FILE"] == volumes.pop("./keys")
    environment["KIDNEY_API_KEYS_FILE"] = str(tmp_path / "keys")
    settings = from_environment(image_variables | environment)
    check_auth(settings)
    assert [key.name for key in load_keys(settings)] == ["radiology"]
    assert bool(settings.model_from) == (image == "kidney:server")
    for inside in volumes.values():
        assert settings.model.parent == Path(inside)
    (port,) = (value for name, value in found if name == "--publish")
    assert port == f"127.0.0.1:8000:{settings.port}"
    assert {"--read-only", "--tmpfs", "--cap-drop", "--security-opt"} <= {name for name, _ in found}
    if "--stop-timeout" in dict(found):
        assert int(dict(found)["--stop-timeout"]) >= settings.deadline_seconds + 10
    if settings.threads:
        assert settings.threads == int(dict(found)["--cpus"])


def test_what_it_says_to_a_container_is_said_to_one_that_it_runs():
    names = {command[command.index("--name") + 1] for command in beginning("docker", "run")}
    for kind in ("inspect", "stop"):
        assert all(command[-1] in names for command in beginning("docker", kind))
    for _, _, name, python, option, module in beginning("docker", "exec"):
        assert (name in names, python, option) == (True, "python3", "-m")
        assert importlib.util.find_spec(module)


def test_what_it_says_to_the_stack_names_its_services():
    for command in beginning("docker", "compose"):
        flag, file, verb, *rest = command[2:]
        assert (flag, (ROOT / file).is_file()) == ("--file", True)
        assert verb in ("up", "logs", "down")
        named = [word for word in rest if not word.startswith("--")]
        assert set(rest) - set(named) <= {"--detach", "--build", "--wait"}
        assert set(named) <= set(SERVICES)


def test_the_secrets_are_copied_to_where_compose_looks_and_git_does_not(tmp_path: Path):
    (command,) = beginning("cp")
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    subprocess.run(command, cwd=tmp_path, check=True)
    copy = tmp_path / command[-1]
    # Beside the first file that compose reads.
    assert copy == (tmp_path / "deploy" / "compose.yaml").with_name(".env")
    assert set(re.findall(r"^(\w+)=$", copy.read_text(), re.M)) == set(SECRETS)


def test_training_and_promotion_take_these_settings():
    uri = f"http://{SERVICES['mlflow']['ports'][0].rsplit(':', 1)[0]}"
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        for command in beginning("python"):
            if command[1] in ("-m", "deploy/smoke.py"):
                continue
            assert (ROOT / command[1]).is_file()
            assert compose("config", command[2:]).tracking.uri == uri


def test_the_script_is_there():
    script = ROOT / commands()[-1][0]
    assert os.access(script, os.X_OK)


def test_each_figure_of_its_table_is_in_the_sum():
    text = PAGE.read_text("utf-8")
    parts = [int(size) for size in re.findall(r"^\| [^|]+ \| (\d+) \|$", text, re.M)]
    total = int(re.search(r"That is (\d+) MB", text)[1])
    assert abs(sum(parts) - total) <= 2
