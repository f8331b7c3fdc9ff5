"""Which code is running."""

import subprocess
from pathlib import Path

_REPOSITORY = Path(__file__).parents[2]


def code_version() -> str:
    """Return the git commit, "-dirty" added for uncommitted changes; "unknown" without git.

    Installed into an environment that lies inside another checkout it is unknown too.
    """
    try:
        if Path(_git("rev-parse", "--show-toplevel")).resolve() != _REPOSITORY.resolve():
            return "unknown"
        commit = _git("rev-parse", "HEAD")
        return f"{commit}-dirty" if _git("status", "--porcelain", "-uno") else commit
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(_REPOSITORY), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
