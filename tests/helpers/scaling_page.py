"""The commands of docs/scaling.md, for the tests that run them."""

import re
import shlex
import sys
from pathlib import Path

from tests.helpers.shell_blocks import shell_lines

_PATH = Path(__file__).parents[2] / "docs/scaling.md"
PAGE = _PATH.read_text("utf-8")
COMMANDS = shell_lines(_PATH)
(PYTHON,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)


def command(part: str, **variables: str) -> list[str]:
    """Return the words of the only command with this part, by this Python, with its variables."""
    (line,) = [line for line in COMMANDS if part in line]
    for name, value in variables.items():
        line = line.replace(f"${name}", value)
    assert "$" not in line
    words = shlex.split(line)
    return [sys.executable if word == "python" else word for word in words]
