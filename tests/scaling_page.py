"""The commands of docs/scaling.md, for the tests that run them."""

import re
import shlex
import sys
from pathlib import Path

PAGE = (Path(__file__).parents[1] / "docs/scaling.md").read_text("utf-8")
COMMANDS = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.M | re.S)
    for line in block.splitlines()
]
(PYTHON,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)


def command(part: str, **variables: str) -> list[str]:
    """Return the words of the only command with this part, by this Python, with its variables."""
    (line,) = [line for line in COMMANDS if part in line]
    for name, value in variables.items():
        line = line.replace(f"${name}", value)
    assert "$" not in line
    words = shlex.split(line)
    return [sys.executable if word == "python" else word for word in words]
