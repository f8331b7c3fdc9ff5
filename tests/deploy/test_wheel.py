"""The package where it is installed, without this repository."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from kidney.files import sha256
from kidney.serving.guards.keys import entry, new_key
from tests.helpers.dockerfile import ROOT, write_context
from tests.helpers.tiny_model import write_tiny_model
from tests.helpers.waiting import GUARD


def start(python: Path | str, folder: Path, **settings: str) -> subprocess.Popen[str]:
    """Serve as an installation does, outside of the repository."""
    path = {"PATH": os.environ["PATH"]}
    return subprocess.Popen(
        [python, "-m", "kidney.serving", "--port", "0"],
        cwd=folder,
        env=path | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_it_ends_at_once_while_it_fetches_its_model(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/kidney.onnx"
        process = start(
            sys.executable,
            tmp_path,
            PYTHONPATH=str(ROOT),
            KIDNEY_AUTH="off",
            KIDNEY_MODEL_FROM=address,
            KIDNEY_MODEL_SHA256="0" * 64,
        )
        silent.settimeout(GUARD)
        try:
            connection, _ = silent.accept()  # it asks and gets no answer
            process.send_signal(signal.SIGTERM)
            # By a handler: the first process of a container is spared where there is none.
            assert process.wait(timeout=GUARD) == 128 + signal.SIGTERM
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # who fetches; a container ends with its first
            process.communicate()
        connection.close()


@pytest.mark.slow
def test_the_wheel_installs_into_an_empty_environment_and_serves(tmp_path: Path):
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "empty"], check=True)
    python = tmp_path / "empty" / "bin" / "python"
    pip = [python, "-m", "pip", "--quiet"]
    source, wheels = write_context(tmp_path / "source"), tmp_path / "wheels"
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", wheels, source], check=True)
    (wheel,) = wheels.iterdir()
    subprocess.run([*pip, "install", "--constraint", ROOT / "constraints.txt", wheel], check=True)
    key = new_key()
    model = write_tiny_model(tmp_path / "kidney.onnx")
    process = start(python, tmp_path, KIDNEY_MODEL=str(model), KIDNEY_API_KEYS=entry("wheel", key))
    try:
        line = process.stdout.readline()
        assert line.startswith("Serving on "), process.stderr.read()
        address = line.split()[-1]
        (tmp_path / "key").write_text(key)
        smoke = [python, ROOT / "deploy" / "smoke.py", "--url", address]
        smoke += ["--key-file", tmp_path / "key", "--expect-model", sha256(model)]
        subprocess.run(smoke, check=True)
        # The page, and every file of it that the repository has.
        code = (
            "import sys, urllib.request as u\n"
            "for path in sys.argv[3:]:\n"
            "    headers = {'Authorization': 'Bearer ' + open(sys.argv[2]).read()}\n"
            "    u.urlopen(u.Request(sys.argv[1] + path, headers=headers)).read()\n"
        )
        static = ROOT / "kidney" / "serving" / "static"
        files = [path for path in static.rglob("*") if path.is_file()]
        assert files
        paths = ["/", "/api/v1/docs"]
        paths += [f"/static/{path.relative_to(static).as_posix()}" for path in files]
        subprocess.run([python, "-c", code, address, tmp_path / "key", *paths], check=True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=GUARD) == 0
    finally:
        process.kill()
        process.communicate()
