import subprocess
from pathlib import Path

import pytest

from kidney.tracking import runs


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for this repository, with one commit."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):  # set where a git hook runs this
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "checkout"
    folder.mkdir()
    monkeypatch.setattr(runs, "_REPOSITORY", folder)
    (folder / "train.py").write_text("1")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "-c", "user.name=n", "-c", "user.email=e@e", "commit", "-qm", "first")
    return folder


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_in_a_checkout_the_code_is_its_commit(checkout: Path):
    assert runs.code_version() == git(checkout, "rev-parse", "HEAD")


def test_uncommitted_changes_are_told(checkout: Path):
    (checkout / "train.py").write_text("2")
    assert runs.code_version() == git(checkout, "rev-parse", "HEAD") + "-dirty"


def test_files_that_git_does_not_know_change_no_code(checkout: Path):
    (checkout / "notes.txt").write_text("x")
    assert runs.code_version() == git(checkout, "rev-parse", "HEAD")


def test_outside_a_checkout_the_code_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setattr(runs, "_REPOSITORY", tmp_path)
    assert runs.code_version() == "unknown"


def test_installed_below_somebody_elses_checkout_the_code_is_unknown(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
):
    installed = checkout / ".venv" / "site-packages"
    installed.mkdir(parents=True)
    monkeypatch.setattr(runs, "_REPOSITORY", installed)
    assert runs.code_version() == "unknown"


def test_without_git_the_code_is_unknown(checkout: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(checkout))
    assert runs.code_version() == "unknown"
