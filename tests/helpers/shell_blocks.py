"""What a page asks its reader to type."""

import re
from pathlib import Path

_BLOCK = re.compile(r"^( *)```sh\n(.*?)^ *```$", re.M | re.S)


def shell_lines(page: Path) -> list[str]:
    """Return the commands in the sh blocks of a page; a continued line is one."""
    lines = [
        line.strip()
        for _, block in _BLOCK.findall(page.read_text("utf-8"))
        for line in block.replace("\\\n", " ").splitlines()
    ]
    return [line for line in lines if line and not line.startswith("#")]
