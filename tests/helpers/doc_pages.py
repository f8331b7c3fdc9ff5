"""The pages of the documentation, and the commands in them."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.shell_blocks import shell_lines

ROOT = Path(__file__).parents[2]
# These have tests of their own.
ELSEWHERE = ("container.md", "deployment.md", "pacs.md", "scaling.md")
# In the order in which somebody who follows them would: what one leaves, the next one may use.
ORDER = (
    "README.md", "docs/data.md", "docs/training.md", "docs/evaluation.md", "docs/artifact.md",
    "docs/api.md", "docs/operations.md",
)  # fmt: skip

_SET = re.compile(r"([A-Z_]+)=(.*)", re.S)


@dataclass(frozen=True)
class Command:
    """One command line of a page.

    Attributes:
        page: where it stands, below the root.
        words: the program and its arguments, as a shell would hand them over.
        variables: what stands before the program.
    """

    page: str
    words: tuple[str, ...]
    variables: dict[str, str]

    def __str__(self) -> str:
        before = [f"{name}={value}" for name, value in self.variables.items()]
        return " ".join([*before, *self.words])


def pages() -> list[Path]:
    """Return the pages whose commands are tested here."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    ours = [page for page in found if page.name not in ELSEWHERE]
    places = {name: place for place, name in enumerate(ORDER)}
    return sorted(ours, key=lambda page: (places.get(name_of(page), len(places)), name_of(page)))


def name_of(page: Path) -> str:
    """Return the path of a page below the root."""
    return page.relative_to(ROOT).as_posix()


def commands(page: Path) -> list[Command]:
    """Return the commands in the sh blocks of a page, from top to bottom."""
    return [_command(name_of(page), shlex.split(line, comments=True)) for line in shell_lines(page)]


def _command(page: str, words: list[str]) -> Command:
    variables = {}
    while found := _SET.fullmatch(words[0]):
        variables[found[1]] = found[2]
        words = words[1:]
    # They are run without a shell.
    assert not {"|", "||", "&&", "&", ";", ">", ">>", "<"} & set(words), words
    return Command(page, tuple(words), variables)


def all_commands() -> list[Command]:
    """Return the commands of all pages, each as often as it stands there."""
    return [command for page in pages() for command in commands(page)]


def blocks(page: str, language: str) -> list[str]:
    """Return the blocks of a language in a page."""
    text = (ROOT / page).read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


def table(page: str, heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading, without its head."""
    text = (ROOT / page).read_text("utf-8")
    _, _, below = text.partition(f"\n## {heading}\n")
    assert below, f"{page} has no heading {heading!r}"
    rows = re.search(r"^\|.*?(?=^(?!\|))", below.partition("\n## ")[0], re.M | re.S)
    assert rows, f"{page} has no table below {heading!r}"
    lines = rows[0].strip().splitlines()[2:]
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]
