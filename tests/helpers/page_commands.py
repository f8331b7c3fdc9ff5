"""The commands of a page, as its reader would copy them."""

import shlex
from pathlib import Path

from tests.helpers.dockerfile import ROOT
from tests.helpers.shell_blocks import shell_lines

PAGE = ROOT / "docs" / "container.md"


def commands(page: Path = PAGE) -> list[list[str]]:
    """Return the words of each command in the page's sh blocks."""
    return [shlex.split(line, comments=True) for line in shell_lines(page)]


def beginning(*words: str) -> list[list[str]]:
    """Return the commands that begin with these words."""
    return [each for each in commands() if each[: len(words)] == list(words)]
