"""A Dockerfile's own commands, run without an engine: below a folder, under the users it names.

What is absolute in them is below the folder instead. The base image is a virtual environment, so
that `python3 -m pip uninstall` takes nothing from this machine.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.helpers.dockerfile import Instruction

USER = 10001
_PLACES = re.compile(r"(?<![\w.$}/-])/(?=(?:opt|src|app|models|wheels|srv|tmp)\b)")


@dataclass
class Machine:
    """What stands in for a container and its image.

    Attributes:
        root: what / is.
        context: what is built from.
        variables: what ENV has set.
        folder: where the next command runs, in the image.
        user: who runs it; None: root.
    """

    root: Path
    context: Path
    variables: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    user: int | None = None

    def path(self, inside: str) -> Path:
        """Return where a path of the image is on this machine."""
        return self.root / inside.lstrip("/")

    def text(self, text: str) -> str:
        """Return a text with the paths of the image as they are here."""
        return _PLACES.sub(f"{self.root}/", text)

    def environment(self) -> dict[str, str]:
        """Return what a process of the image finds: nothing of this machine's user."""
        path = f"{self.root}/base/bin:/usr/bin:/bin"
        kept = {name: text for name, text in os.environ.items() if name.startswith("PIP_")}
        own = {
            name: self.text(text).replace("$PATH", path) for name, text in self.variables.items()
        }
        return kept | {"PATH": path, "TMPDIR": str(self.path("/tmp"))} | own

    def build(self, stage: list[Instruction]) -> None:
        """Follow the instructions of a stage."""
        for each in stage:
            if each.name == "WORKDIR":
                self.folder = each.text
                self.path(each.text).mkdir(parents=True, exist_ok=True)
            elif each.name == "COPY" and "from" not in each.options:
                self._copy(each)
            elif each.name == "COPY":
                assert each.words()[0] == each.words()[1], "one folder is both stages here"
            elif each.name == "ENV":
                self.variables |= dict(word.split("=", 1) for word in each.words())
            elif each.name == "USER":
                self.user = int(each.text.split(":")[0])
            elif each.name == "RUN":
                self.run(each.argv if each.text.startswith("[") else ["sh", "-c", each.text])

    def run(self, argv: list[str], **options: object) -> str:
        """Run a command to its end and return what it prints; fail where it does."""
        done = self.start(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
        said, _ = done.communicate()
        assert done.returncode == 0, said
        return str(said)

    def start(self, argv: list[str], **options: object) -> subprocess.Popen[str]:
        """Start a command as the image would."""
        environment = self.environment() | dict(options.pop("env", {}))
        command = [self.text(word) for word in argv]
        command[0] = shutil.which(command[0], path=environment["PATH"]) or command[0]
        if self.user is not None:
            command = [*as_user(self.user), *command]
        return subprocess.Popen(
            command, cwd=self.path(self.folder), env=environment, text=True, **options
        )

    def _copy(self, copy: Instruction) -> None:
        *sources, target = copy.words()
        goal = self.path(target) if target.startswith("/") else self.path(self.folder) / target
        for source in sources:
            found = self.context / source
            if found.is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(found, goal, ignore=ignored, dirs_exist_ok=True)
            else:
                into = goal / found.name if goal.is_dir() or target.endswith("/") else goal
                into.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(found, into)
                into.chmod(int(copy.options.get("chmod", "0644"), 8))


@contextmanager
def machine(context: Path) -> Iterator[Machine]:
    """Yield a machine with a base of its own below a folder that any user may enter."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("only root can become another user, and setpriv does it")
    root = Path(tempfile.mkdtemp(prefix="kidney-replay-"))
    try:
        root.chmod(0o755)
        root.joinpath("tmp").mkdir()
        root.joinpath("tmp").chmod(0o1777)
        made = Machine(root, context)
        subprocess.run([_python(), "-m", "venv", root / "base"], check=True)
        yield made
    finally:
        shutil.rmtree(root)


def as_user(user: int) -> list[str]:
    """Return what runs a command as a user without any right of root."""
    return [
        "setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--no-new-privs",
        "--bounding-set=-all", "--inh-caps=-all",
        "env",  # setpriv itself finds programs with the rights of root
    ]  # fmt: skip


def _python() -> str:
    """Return a Python that the other user may run, with what a virtual environment needs."""
    for name in (sys._base_executable, "/usr/bin/python3.11", "/usr/bin/python3"):  # type: ignore[attr-defined]
        code = "import ensurepip, sys; sys.exit(sys.version_info < (3, 11))"
        command = [*as_user(USER), name, "-c", code]
        if subprocess.run(command, capture_output=True, cwd="/").returncode == 0:
            return name
    pytest.skip("no Python 3.11 with ensurepip that user 10001 may run")


def owned(by: int = USER) -> set[Path]:
    """Return all files of a user on the disks of this machine."""
    found = subprocess.run(
        ["find", "/", "/dev/shm", "-xdev", "-uid", str(by), "-print0"],
        capture_output=True, text=True,
    )  # fmt: skip
    return {Path(name) for name in found.stdout.split("\0") if name}
