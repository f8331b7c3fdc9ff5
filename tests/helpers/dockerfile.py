"""The Dockerfiles as their instructions, and the context that an engine sends."""

import json
import re
import shutil
from pathlib import Path

from docker.utils.build import exclude_paths
from dockerfile_parse import DockerfileParser

from tests.helpers.tiny_model import write_tiny_model

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "Dockerfile"
MLFLOW = ROOT / "deploy" / "mlflow.Dockerfile"
Instruction = tuple[str, str]  # its name in capitals, and what follows with continued lines joined


def read(path: Path) -> list[Instruction]:
    """Return all instructions in their order."""
    with path.open("rb") as file:
        rows = DockerfileParser(fileobj=file).structure
    return [(row["instruction"], row["value"]) for row in rows if row["instruction"] != "COMMENT"]


def stages(path: Path) -> dict[str, list[Instruction]]:
    """Return the instructions of each stage by its name, or its number, without the FROM."""
    found: dict[str, list[Instruction]] = {}
    for name, text in read(path):
        if name == "FROM":
            found[text.partition(" AS ")[2] or str(len(found))] = []
        elif found:
            [*found.values()][-1].append((name, text))
    return found


def one(instructions: list[Instruction], name: str) -> str:
    """Return the text of the only instruction of this name."""
    (found,) = (text for each, text in instructions if each == name)
    return found


def argv(instructions: list[Instruction], name: str) -> list[str]:
    """Return the command of a CMD or HEALTHCHECK in the exec form."""
    text = one(instructions, name)
    words = json.loads(text[text.index("[") :])
    assert isinstance(words, list)
    return words


def variables(instructions: list[Instruction]) -> dict[str, str]:
    """Return what ENV sets."""
    return {
        name: value
        for each, text in instructions
        if each == "ENV"
        for name, value in re.findall(r"(\w+)=(\S+)", text)
    }


def sent(root: Path) -> set[str]:
    """Return the files and folders below `root` that .dockerignore lets through, as Docker does."""
    return exclude_paths(str(root), (ROOT / ".dockerignore").read_text("utf-8").splitlines())


def write_context(folder: Path) -> Path:
    """Write what is sent, with the tiny model and the Dockerfile; return it."""
    folder.mkdir()
    for name in (*sent(ROOT), "Dockerfile", ".dockerignore"):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    (folder / "artifacts").mkdir(exist_ok=True)
    write_tiny_model(folder / "artifacts" / "kidney.onnx")
    return folder
