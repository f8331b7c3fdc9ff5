"""docs/deployment.md, command after command: the real aws command over moto's server."""

import contextlib
import functools
import io
import re
import shlex
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from awscli.clidriver import create_clidriver
from moto.server import ThreadedMotoServer

from deploy import smoke
from kidney.serving.guards import keys
from tests.deploy.conftest import NAME, Courier, Outside, make_stack, push
from tests.helpers.deploy_modules import ROOT, health, script, stacks
from tests.helpers.machine import ENTRY, Machine
from tests.helpers.shell_blocks import shell_lines
from tests.helpers.tiny_model import write_tiny_model

_PATH = ROOT / "docs" / "deployment.md"
PAGE = _PATH.read_text("utf-8")
HEAD = "1" * 40  # what git prints
# What a reader puts in the place of the page's words.
READER = {"SUBJECT": "repo:hospital@1/kidney@2", "ENTRY": ENTRY}
# moto cannot do these: the command checks its words against the models of AWS, and sends nothing.
CHECKED_ONLY = ("ssm start-session", "cloudformation delete-stack")
SKIPPED = (
    "logs tail",
    "cloudformation wait",
)  # of version 2 of the command; of nothing to wait for


@pytest.fixture
def endpoint(aws: None) -> Iterator[str]:  # noqa: ARG001
    """An address at which the aws command finds what boto3 finds in this process."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def run_aws(endpoint: str, words: list[str]) -> str:
    """Run the aws command; return what it prints."""
    operation = " ".join(words[:2])
    if operation in SKIPPED:
        return ""
    extra = {
        "cloudformation deploy": ("--no-execute-changeset",),  # moto's change sets lose outputs
        **dict.fromkeys(CHECKED_ONLY, ("--generate-cli-skeleton", "output")),
    }
    with contextlib.redirect_stdout(io.StringIO()) as out, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # moto passes over some resources
        status = create_clidriver().main(
            [*words, *extra.get(operation, ()), f"--endpoint-url={endpoint}"]
        )
    assert status == 0, words
    client = boto3.client("cloudformation")
    if operation == "cloudformation deploy" and _status(client) == "REVIEW_IN_PROGRESS":
        client.delete_stack(StackName=NAME)
        make_stack()
    return out.getvalue()


def _status(client: Any) -> str:
    return str(client.describe_stacks(StackName=NAME)["Stacks"][0]["StackStatus"])


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
def programs(
    endpoint: str,
    machine: Machine,
    outside: Outside,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> dict[str, Callable[[list[str]], str]]:
    """The programs of the page, over moto and an instance."""
    (tmp_path / "artifacts").mkdir()
    write_tiny_model(tmp_path / "artifacts" / "kidney.onnx")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    ask = urllib.request.urlopen

    def redirected(url: str, timeout: float) -> Any:
        return ask(url.replace("https://kidney.example.org", outside.url), None, timeout)

    monkeypatch.setattr(health.urllib.request, "urlopen", redirected)
    real, courier = boto3.client, Courier(machine, None)

    def client(name: str, *arguments: Any, **options: Any) -> Any:
        if name != "ssm":
            return real(name, *arguments, **options)
        courier.real = real(name)
        return courier

    monkeypatch.setattr("boto3.client", client)

    def called(main: Callable[[list[str]], int], words: list[str]) -> str:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            assert main(words) == 0
        return out.getvalue()

    def deploy(words: list[str]) -> str:
        courier.stack = stacks.read_stack(NAME)
        return called(script.main, words)

    def smoke_test(words: list[str]) -> str:
        """Only its options: tests/deploy/test_smoke.py runs it."""
        text = Path(smoke.__file__).read_text("utf-8")
        assert all(f'"{word}"' in text for word in words if word.startswith("--"))
        return ""

    return {
        "aws": functools.partial(run_aws, endpoint),
        "python deploy/deploy.py": deploy,
        "python deploy/smoke.py": smoke_test,
        "python -m kidney.serving.guards.keys": lambda words: called(keys.main, words),
        "bash deploy/push.sh": lambda words: push(stacks.read_stack(*words), HEAD),
    }


def test_the_guide_leads_from_an_account_to_a_server_and_back(
    programs: dict[str, Callable[[list[str]], str]], machine: Machine
):
    given: list[str] = []

    def run(words: list[str]) -> str:
        line = " ".join(words)
        (program,) = (name for name in programs if line.startswith(f"{name} "))
        given.append(line)
        if " rollback " in line:  # main has delivered something since
            push(stacks.read_stack(NAME), "next")
            programs["python deploy/deploy.py"](["deploy", "--stack", NAME, "--image", "next"])
        return programs[program](words[len(program.split()) :])

    reader = Reader(run)
    for line in shell_lines(_PATH):
        reader.type(line)
        if line.startswith("python deploy/deploy.py deploy"):
            assert len(machine.running) == 1
    assert len(given) > 20


def test_the_page_names_what_there_is():
    template = (ROOT / "deploy" / "template.yaml").read_text("utf-8")
    for name in re.findall(r"`([A-Z][A-Za-z]+(?:Arn|Role|Type|GiB|Address))`", PAGE):
        assert re.search(rf"^  {name}:", template, re.M), name
    for path in re.findall(r"`((?:deploy|\.github)/[\w./-]+)`", PAGE):
        assert (ROOT / path).exists(), path
    flows = "".join(path.read_text() for path in (ROOT / ".github/workflows").glob("*.yml"))
    for name in re.findall(r"`([A-Z]+(?:_[A-Z]+)*)` \|", PAGE):
        assert re.search(rf"(vars|secrets)\.{name}\b", flows), name
