"""The commands of a page, as its reader would copy them."""

import re
import shlex
from pathlib import Path

from tests.deploy.dockerfile import ROOT

PAGE = ROOT / "docs" / "container.md"


def commands(page: Path = PAGE) -> list[list[str]]:
    """Return the words of each command in the page's sh blocks."""
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)
    lines = [line for block in blocks for line in block.splitlines() if line.strip()]
    return [shlex.split(line, comments=True) for line in lines]


def beginning(*words: str) -> list[list[str]]:
    """Return the commands that begin with these words."""
    return [each for each in commands() if each[: len(words)] == list(words)]
