"""The image itself, built by buildah and run by podman."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.helpers.dockerfile import ROOT, write_context

NEEDED = ("debootstrap", "buildah", "podman", "runc")


@pytest.mark.slow
def test_the_image_builds_serves_and_ends(tmp_path: Path):
    missing = [name for name in NEEDED if not shutil.which(name)]
    if missing or os.geteuid() != 0:
        pytest.skip(f"needs root and, of Debian, {' '.join(missing or NEEDED)}")
    context = write_context(tmp_path / "context")
    done = subprocess.run(
        [ROOT / "deploy" / "try_image.sh", context], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for name in ("baked", "fetched"):
        assert (
            f"== {name}: served, healthy, user 10001, read-only, ended with status 0" in done.stdout
        )
    print(done.stdout)  # the sizes
