"""Each command of README and docs is one that its program takes; test_walk.py runs them all."""

import argparse
import re
import runpy
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from kidney.files import sha256
from kidney.remote.signature import read_public_key, verify
from kidney.serving.predict import arguments_of
from tests.helpers.doc_pages import ELSEWHERE, ROOT, Command, all_commands, pages
from tests.helpers.tiny_model import write_tiny_model

_BY_PROGRAM: dict[str, list[Command]] = {}
for _command in all_commands():
    _BY_PROGRAM.setdefault(_command.words[0], []).append(_command)


def different(program: str) -> list[Command]:
    """Return the commands of a program, each once."""
    return list({command.words: command for command in _BY_PROGRAM[program]}.values())


def composed(command: Command) -> bool:
    """Tell whether it is a script whose arguments Hydra composes."""
    script = ROOT / command.words[1]
    shared = script.is_file() and "@entry_point" in script.read_text("utf-8")
    return shared or config_of(command) != ""


def config_of(command: Command) -> str:
    """Return the configuration that a script composes, if it is not the common one."""
    script = ROOT / command.words[1]
    text = script.read_text("utf-8") if script.is_file() else ""
    found = re.search(r'^@composing\("(\w+)"\)$', text, re.MULTILINE)
    return found[1] if found else ""


def test_no_command_is_left_out():
    known = {"make", "source", "python", "curl", "mlflow", "dvc", "mkdocs", "openssl", "sha256sum",
             "kidney"}  # fmt: skip
    assert set(_BY_PROGRAM) == known
    assert len(all_commands()) > 60
    assert {page.name for page in pages()} >= {"README.md", "CONTRIBUTING.md", "operations.md"}


def test_kidney_takes_the_arguments():
    for command in different("kidney"):
        assert command.words[1] == "predict"
        assert arguments_of(command.words[2:]).paths


@pytest.mark.parametrize("page", ELSEWHERE)
def test_the_commands_of_every_other_page_have_a_test_too(page: str):
    here = Path(__file__).parent
    readers = [
        test
        for test in (ROOT / "tests").rglob("*.py")
        if test.parent != here and page in test.read_text("utf-8")
    ]
    assert readers


@pytest.mark.parametrize("command", different("make"), ids=str)
def test_make_has_the_target(command: Command):
    # Without its set-up, and without doing it: what the recipes do is what CI does.
    words = [*command.words, "--dry-run", "--old-file=setup"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert ".venv/bin/" in done.stdout


def test_the_environment_is_the_one_that_make_makes():
    assert {one.words for one in different("source")} == {("source", ".venv/bin/activate")}


# Scripts of one configuration take the same arguments.
_SETTINGS = {(config_of(one), *one.words[2:]): one for one in different("python") if composed(one)}


@pytest.mark.parametrize("command", _SETTINGS.values(), ids=str)
def test_hydra_composes_the_settings(command: Command):
    words = list(command.words[2:])
    if "--cfg" in words:
        del words[words.index("--cfg") : words.index("--cfg") + 2]
    overrides = OverridesParser.create().parse_overrides([word for word in words if word != "-m"])
    assert any(one.is_sweep_override() for one in overrides) == ("-m" in words)
    choices = [
        [f"{one.key_or_group}={value}" for value in one.sweep_string_iterator()]
        if one.is_sweep_override()
        else [str(one.input_line)]
        for one in overrides
    ]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        for job in product(*choices):
            OmegaConf.to_container(compose(config_of(command) or "config", list(job)), resolve=True)


class _Taken(Exception):  # noqa: N818, it is no error
    """The program took its arguments."""


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
@pytest.mark.parametrize(
    "command", [one for one in different("python") if not composed(one)], ids=str
)
def test_argparse_takes_the_arguments(command: Command, monkeypatch: pytest.MonkeyPatch):
    taken = argparse.ArgumentParser.parse_args

    def stop(parser: argparse.ArgumentParser, *arguments: object) -> None:
        taken(parser, *arguments)  # type: ignore[call-overload]
        raise _Taken

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    with pytest.raises(_Taken):
        run(command.words[1:], monkeypatch)


def run(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Do in this process what python does with these words."""
    first, *arguments = words
    if first == "-m":
        module, *arguments = arguments
        monkeypatch.setattr(sys, "argv", [module, *arguments])
        runpy.run_module(module, run_name="__main__")
    else:
        monkeypatch.setattr(sys, "argv", [first, *arguments])
        monkeypatch.syspath_prepend((ROOT / first).parent)
        runpy.run_path(str(ROOT / first), run_name="__main__")


@pytest.mark.parametrize("command", different("dvc"), ids=str)
def test_dvc_takes_the_arguments(command: Command):
    from dvc.cli import parse_args

    arguments = parse_args(list(command.words[1:]))
    settings = getattr(arguments, "set_param", None) or []
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        compose("config", settings)


@pytest.mark.parametrize("command", [*different("mlflow"), *different("mkdocs")], ids=str)
def test_click_takes_the_arguments(command: Command):
    import mkdocs.__main__
    import mlflow.cli

    program, verb, *arguments = command.words
    group = {"mlflow": mlflow.cli.cli, "mkdocs": mkdocs.__main__.cli}[program]
    found = group.get_command(group.make_context(program, [verb]), verb)
    assert found
    found.make_context(verb, arguments)


def test_what_is_signed_as_on_the_page_verifies(tmp_path: Path):
    model = tmp_path / "artifacts" / "kidney.onnx"
    model.parent.mkdir()
    write_tiny_model(model)
    said = ""
    for command in [*different("openssl"), *different("sha256sum")]:
        if not shutil.which(command.words[0]):
            pytest.skip(f"{command.words[0]} is not installed")
        done = subprocess.run(
            command.words, cwd=tmp_path, capture_output=True, text=True, check=True
        )
        said = done.stdout
    signature = model.with_name("kidney.onnx.sig").read_bytes()
    verify(model, signature, read_public_key(tmp_path / "signing.pub"))
    assert said.split()[0] == sha256(model)
