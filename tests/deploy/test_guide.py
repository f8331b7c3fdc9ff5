"""docs/deployment.md, command after command, as a reader would give them."""

import contextlib
import io
import re
import shlex
import subprocess
import sys
import urllib.request
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest

from kidney.serving.guards import keys
from tests.deploy.conftest import NAME, Courier, Outside, push
from tests.helpers.aws_command import aws as aws_command
from tests.helpers.deploy_modules import ROOT, health, script, stacks
from tests.helpers.machine import ENTRY, Machine
from tests.helpers.shell_blocks import shell_lines
from tests.helpers.tiny_model import write_tiny_model

_PATH = ROOT / "docs" / "deployment.md"
PAGE = _PATH.read_text("utf-8")
COMMANDS = shell_lines(_PATH)
HEAD = "1" * 40  # what git says
READER = {  # what a reader puts in the place of the page's words
    "SUBJECT": "repo:hospital@1/kidney@2",
    "ENTRY": ENTRY,
}


class Reader:
    """A shell that knows the programs of the page and no others."""

    def __init__(self, run: Callable[[list[str]], str]) -> None:
        self.run, self.variables = run, {}

    def type(self, line: str) -> None:
        if found := re.fullmatch(r"(?:export )?([A-Z_]+)=(.*)", line):
            name, value = found.groups()
            inner = re.fullmatch(r"\$\((.*)\)", value)
            value = self.run(self.words(inner[1])).strip() if inner else value
            self.variables[name] = READER.get(name, value)
        else:
            self.run(self.words(line))

    def words(self, line: str) -> list[str]:
        line = line.replace("$(git rev-parse HEAD)", HEAD)
        for name, value in self.variables.items():
            line = re.sub(rf"\${name}\b", lambda _, value=value: value, line)
        return shlex.split(line)


@pytest.fixture
def world(
    aws: None,  # noqa: ARG001
    machine: Machine,
    outside: Outside,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> dict[str, Callable[[list[str]], str]]:
    """The programs of the page, over moto and a machine."""
    (tmp_path / "artifacts").mkdir()
    write_tiny_model(tmp_path / "artifacts" / "kidney.onnx")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    ask = urllib.request.urlopen
    monkeypatch.setattr(
        health.urllib.request,
        "urlopen",
        lambda url, timeout: ask(
            url.replace("https://kidney.example.org", outside.url), None, timeout
        ),
    )
    real, courier = boto3.client, Courier(machine, None)

    def client(name: str, *arguments: Any, **options: Any) -> Any:
        if name != "ssm":
            return real(name, *arguments, **options)
        courier.real = real(name)
        return courier

    monkeypatch.setattr("boto3.client", client)

    def deploy(words: list[str]) -> str:
        courier.stack = stacks.read_stack(NAME)
        said, told = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(told):
            status = script.main(words)
        assert status == 0, told.getvalue()
        return said.getvalue()

    def push_image(words: list[str]) -> str:
        assert words == [NAME]
        return push(stacks.read_stack(NAME), HEAD)

    def smoke(words: list[str]) -> str:
        path = ROOT / "deploy" / "smoke.py"
        if path.exists():
            usage = subprocess.run(
                [sys.executable, path, "--help"], capture_output=True, text=True, check=True
            ).stdout
            assert not [word for word in words if word.startswith("--") and word not in usage]
        return ""

    def new_key(words: list[str]) -> str:
        with contextlib.redirect_stdout(io.StringIO()) as said:
            assert keys.main(words) == 0
        return said.getvalue()

    def run_aws(words: list[str]) -> str:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # moto passes over some resources
            return aws_command(words)

    return {
        "aws": run_aws,
        "python deploy/deploy.py": deploy,
        "python deploy/smoke.py": smoke,
        "python -m kidney.serving.guards.keys": new_key,
        "bash deploy/push.sh": push_image,
    }


def test_the_guide_leads_from_an_account_to_a_server_and_back(
    world: dict[str, Callable[[list[str]], str]], machine: Machine
):
    given: list[str] = []

    def run(words: list[str]) -> str:
        line = " ".join(words)
        (program,) = (name for name in world if line.startswith(f"{name} "))
        given.append(line)
        if " rollback " in line:  # main has delivered something since
            push(stacks.read_stack(NAME), "next")
            world["python deploy/deploy.py"](["deploy", "--stack", NAME, "--image", "next"])
        return world[program](words[len(program.split()) :])

    reader = Reader(run)
    for line in COMMANDS:
        reader.type(line)
        if line.startswith("python deploy/deploy.py deploy"):
            assert len(machine.running) == 1
    assert len(given) == len(
        [line for line in COMMANDS if not re.match(r"(export )?\w+=[^$]", line)]
    )
    assert len(given) > 20


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("iam create-oidc --url x", "has no create-oidc"),
        ("iam create-user --name x", "has no --name"),
        ("iam create-user", "Missing required parameter"),
        ("ssm start-session --target i-1 x", "takes no|too many|unpack"),
    ],
)
@pytest.mark.usefixtures("aws")
def test_a_command_that_aws_does_not_have_is_noticed(line: str, said: str):
    with pytest.raises((AssertionError, ValueError), match=said):
        aws_command(shlex.split(line))


def test_the_page_names_what_there_is():
    template = (ROOT / "deploy" / "template.yaml").read_text("utf-8")
    for name in re.findall(r"`([A-Z][A-Za-z]+(?:Arn|Role|Type|GiB|Address))`", PAGE):
        assert re.search(rf"^  {name}:", template, re.M), name
    for path in re.findall(r"`((?:deploy|\.github)/[\w./-]+)`", PAGE):
        assert (ROOT / path).exists(), path
    flows = "".join(path.read_text() for path in (ROOT / ".github/workflows").glob("*.yml"))
    for name in re.findall(r"`([A-Z]+(?:_[A-Z]+)*)` \|", PAGE):
        assert re.search(rf"(vars|secrets)\.{name}\b", flows), name
