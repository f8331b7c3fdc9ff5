"""A PostgreSQL server of a test's own, reached by a socket in its folder."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.helpers.replay import as_user


@contextmanager
def postgres() -> Iterator[str]:
    """Yield the URL of an empty database; without Debian's postgresql CI fails and others skip."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not found:
        reason = "needs Debian's postgresql: apt-get install postgresql"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    bin_ = found[-1]
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # the path of a socket is at most 107 bytes
    # PostgreSQL refuses to run as root.
    user = as_user(pwd.getpwnam("nobody").pw_uid) if os.geteuid() == 0 else []
    if user:
        shutil.chown(folder, "nobody")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/"}
    data = folder / "data"
    made = ["--username=kidney", "--auth=trust", "--no-sync", f"--pgdata={data}"]
    subprocess.run([*user, bin_ / "initdb", *made], check=True, **quiet)  # type: ignore[call-overload]
    command = [*user, bin_ / "postgres", "-D", data, "-k", folder, "-c", "listen_addresses="]
    server = subprocess.Popen(command, **quiet)  # type: ignore[call-overload]
    try:
        check = [bin_ / "pg_isready", "--quiet", f"--host={folder}"]
        while subprocess.run(check, cwd="/").returncode:
            assert server.poll() is None, "PostgreSQL did not start"
            time.sleep(0.05)
        yield f"postgresql+psycopg://kidney@/postgres?host={folder}"
    finally:
        server.send_signal(signal.SIGINT)  # do not wait for clients
        server.wait()
        shutil.rmtree(folder)
