"""A Dockerfile as its instructions, so that tests hold the very lines that an engine would run."""

import json
import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.tiny_model import write_tiny_model

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "Dockerfile"
MLFLOW = ROOT / "deploy" / "mlflow.Dockerfile"


@dataclass(frozen=True)
class Instruction:
    """One instruction: its name in capitals and what follows, continued lines joined."""

    name: str
    text: str

    @property
    def options(self) -> dict[str, str]:
        """--NAME=VALUE before the rest."""
        return dict(re.findall(r"--([a-z-]+)=(\S+)", self._split()[0]))

    @property
    def rest(self) -> str:
        """What follows the options."""
        return self._split()[1]

    @property
    def argv(self) -> list[str]:
        """The command of the exec form."""
        found = json.loads(self.rest.removeprefix("CMD").strip())
        assert isinstance(found, list)
        return found

    def words(self) -> list[str]:
        """The rest as a shell splits it."""
        return shlex.split(self.rest)

    def _split(self) -> tuple[str, str]:
        options = re.match(r"(?:--[a-z-]+=\S+\s+)*", self.text)
        assert options
        return options[0], self.text[options.end() :]


def read(path: Path) -> list[Instruction]:
    """Return all instructions in their order."""
    lines = [line for line in path.read_text("utf-8").splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [Instruction(*line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def stages(path: Path) -> dict[str, list[Instruction]]:
    """Return the instructions of each stage, by its name, each beginning with its FROM."""
    found: dict[str, list[Instruction]] = {}
    name = None
    for instruction in read(path):
        if instruction.name == "FROM":
            name = re.fullmatch(r"\S+(?: AS (\S+))?", instruction.text)[1] or str(len(found))
            found[name] = []
        if name is not None:
            found[name].append(instruction)
    return found


def one(instructions: list[Instruction], name: str) -> Instruction:
    """Return the only instruction of this name."""
    (found,) = (each for each in instructions if each.name == name)
    return found


def variables(instructions: list[Instruction]) -> dict[str, str]:
    """Return what ENV sets."""
    words = [word for each in instructions if each.name == "ENV" for word in each.words()]
    return dict(word.split("=", 1) for word in words)


def included(path: str, ignore: Path = ROOT / ".dockerignore") -> bool:
    """Tell whether a file or folder of the context is sent, by the last pattern that names it.

    As Docker reads the patterns, as far as this repository's use them: a name stands for all below
    it, and ** for any folders.
    """
    sent = True
    for line in ignore.read_text("utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        wanted, pattern = line.startswith("!"), line.removeprefix("!")
        expression = re.escape(pattern).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
        if re.fullmatch(rf"{expression}(/.*)?", path):
            sent = wanted
    return sent


def write_context(folder: Path) -> Path:
    """Write what .dockerignore lets through, with the tiny model, and the Dockerfile; return it."""
    folder.mkdir()
    for path in [*ROOT.iterdir(), DOCKERFILE, ROOT / ".dockerignore"]:
        if path.is_dir() and included(path.name):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(path, folder / path.name, ignore=ignored)
        elif path.is_file() and (
            included(path.name) or path.name in ("Dockerfile", ".dockerignore")
        ):
            shutil.copyfile(path, folder / path.name)
    (folder / "artifacts").mkdir()
    write_tiny_model(folder / "artifacts" / "kidney.onnx")
    return folder
