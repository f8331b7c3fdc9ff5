"""One run of the whole road through the real command lines, shared by the tests of this folder."""

import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from filelock import FileLock

ROOT = Path(__file__).parents[2]
SMALL_PHANTOM = {"scans_per_class": 3, "size": 96, "max_slices": 8}
# The same set where the configuration comes from conf/ and not from params.yaml.
PHANTOM = ["data=phantom", *(f"++data.fetch.{name}={n}" for name, n in SMALL_PHANTOM.items())]


@dataclass(frozen=True)
class Checkout:
    """A copy of the repository's files, as a clone would have them."""

    folder: Path

    def run(self, *command: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in the checkout with this environment's python first in the path."""
        done = subprocess.run(
            [str(part) for part in command],
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "PYTHONPATH": str(self.folder)}


@pytest.fixture(scope="session")
def make_checkout(tmp_path_factory):
    """Return a function that copies what git tracks, or would track, into a new folder."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip

    def make() -> Checkout:
        folder = tmp_path_factory.mktemp("checkout")
        for name in listed:
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
        return Checkout(folder)

    return make


@pytest.fixture(scope="session")
def pipeline(make_checkout, tmp_path_factory) -> Checkout:
    """A clean checkout after `dvc repro` on a small phantom, of this process's own.

    The road is walked once: other processes of the same test run copy what the first one made.
    """
    mine = tmp_path_factory.mktemp("road") / "checkout"
    above = tmp_path_factory.getbasetemp()
    above = above.parent if "PYTEST_XDIST_WORKER" in os.environ else above
    made = above / "road.txt"  # where the first process left it
    with FileLock(above / "road.lock"):
        if not made.exists():
            made.write_text(str(_walk(make_checkout()).folder), encoding="utf-8")
    shutil.copytree(made.read_text(encoding="utf-8"), mine, symlinks=True)
    return Checkout(mine)


def _walk(checkout: Checkout) -> Checkout:
    params = checkout.folder / "params.yaml"
    settings = yaml.safe_load(params.read_text())
    settings["data"]["fetch"] |= SMALL_PHANTOM
    settings["split"]["folds"] = 3
    settings["model"]["image_size"] = 64
    settings["trainer"]["max_epochs"] = 2
    params.write_text(yaml.safe_dump(settings, sort_keys=False))
    checkout.run("dvc", "repro")
    return checkout


@pytest.fixture(scope="session")
def real_slices(shared) -> list[bytes]:
    """Eight untouched JPEG files of the public set, two a class."""
    with zipfile.ZipFile(shared / "data/ct-kidney-mini.zip") as packed:
        names = sorted(name for name in packed.namelist() if name.endswith(".jpg"))
        return [packed.read(name) for name in names[:: len(names) // 8]][:8]
