"""The stack of deploy/compose.yaml without an engine: its own commands and variables.

MLflow is the installed one, started as deploy/mlflow.Dockerfile says; PostgreSQL is Debian's, and
moto speaks S3. deploy/try_image.sh builds and runs the image of the server.
"""

import contextlib
import http.client
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from kidney.files import sha256
from kidney.serving.guards.keys import entry, new_key
from tests.deploy.test_compose import SECRETS, stack
from tests.helpers.dockerfile import MLFLOW, ROOT, argv, stages
from tests.helpers.server_process import wait_until
from tests.helpers.tiny_model import write_tiny_model

GUARD = 600.0  # seconds until a process that neither answers nor ends fails the test
BIN = Path(sys.executable).parent
pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@contextmanager
def running(command: list[str], ready: Callable[[], object], **options: object) -> Iterator[None]:
    process = subprocess.Popen(command, start_new_session=True, **options)
    try:
        wait_until(lambda: process.poll() is not None or ready(), GUARD)
        assert process.poll() is None, f"{command} ended with status {process.returncode}"
        yield
    finally:
        process.send_signal(signal.SIGINT)  # to PostgreSQL: do not wait for clients
        try:
            process.wait(timeout=60)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with its workers


@contextmanager
def postgres(folder: Path, port: int) -> Iterator[None]:
    """Run PostgreSQL with the user, database and password of the stack."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not found or os.geteuid() != 0:
        pytest.skip("needs Debian's postgresql, and root to start it as another user")
    user = pwd.getpwnam("nobody")
    (folder / "password").write_text(SECRETS["POSTGRES_PASSWORD"])
    for path in (folder, folder / "password"):
        shutil.chown(path, user.pw_uid)
    # PostgreSQL refuses to run as root.
    quiet = {"stdout": subprocess.DEVNULL, "cwd": "/", "user": user.pw_uid}
    programs, data = found[-1], folder / "data"
    made = ["--username=mlflow", "--auth=scram-sha-256", f"--pwfile={folder / 'password'}"]
    subprocess.run([programs / "initdb", *made, f"--pgdata={data}"], check=True, **quiet)
    at = ["--host=127.0.0.1", f"--port={port}"]

    def ready() -> bool:
        return subprocess.run([programs / "pg_isready", *at], **quiet).returncode == 0

    server = [str(programs / "postgres"), "-D", str(data), "-p", str(port), "-k", str(folder)]
    with running(server, ready, **quiet):
        password = {"PGPASSWORD": SECRETS["POSTGRES_PASSWORD"]}
        create = [programs / "createdb", *at, "--username=mlflow", "mlflow"]
        subprocess.run(create, check=True, env=password, **quiet)
        yield


def answers(port: int, host: str, path: str = "/health") -> int:
    """Return the status of an answer, 0 where none comes."""
    client = http.client.HTTPConnection("127.0.0.1", port)
    try:
        client.request("GET", path, headers={"Host": host})
        return client.getresponse().status
    except OSError:
        return 0
    finally:
        client.close()


def register(address: str, model: Path) -> None:
    """Log the model to the tracking server and make it the champion."""
    import mlflow  # which takes seconds

    client = mlflow.MlflowClient(address)
    run = client.create_run(client.create_experiment("kidney"))
    assert run.info.artifact_uri.startswith("mlflow-artifacts:/")
    client.log_artifact(run.info.run_id, str(model), "model")
    client.create_registered_model("kidney")
    version = client.create_model_version(
        "kidney",
        f"{run.info.artifact_uri}/model",
        run_id=run.info.run_id,
        tags={"sha256": sha256(model)},
    )
    client.set_registered_model_alias("kidney", "champion", version.version)


def test_the_server_serves_the_champion_of_the_stack(tmp_path: Path):
    model = write_tiny_model(tmp_path / "model.onnx")
    database, store, tracking = free_port(), free_port(), free_port()
    here = {
        "postgres:5432": f"127.0.0.1:{database}",
        "http://s3:8333": f"http://127.0.0.1:{store}",
        "http://mlflow:5000": f"http://127.0.0.1:{tracking}",
        ":5000": f":{tracking}",
    }
    key = new_key()
    services = stack(SECRETS | {"KIDNEY_API_KEYS": entry("stack", key)})["services"]

    def local(name: str) -> dict[str, str]:
        found = {each: str(text) for each, text in services[name]["environment"].items()}
        for old, new in here.items():
            found = {each: text.replace(old, new) for each, text in found.items()}
        own = {"PATH": f"{BIN}:/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
        return own | found

    quiet = {"cwd": tmp_path, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    command = [
        str(tracking) if word == "5000" else word for word in argv(stages(MLFLOW)["0"], "CMD")
    ]
    with ExitStack() as started:
        # Not below tmp_path, which other users cannot enter.
        folder = started.enter_context(tempfile.TemporaryDirectory(prefix="kidney-postgres-"))
        started.enter_context(postgres(Path(folder), database))
        moto = [str(BIN / "moto_server"), "-p", str(store)]
        started.enter_context(running(moto, lambda: answers(store, "s3", "/"), **quiet))
        for _ in range(2):  # the second finds the bucket
            subprocess.run(services["bucket"]["command"], env=local("bucket"), check=True)
        log = started.enter_context((tmp_path / "mlflow.log").open("w"))
        name = f"mlflow:{tracking}"
        started.enter_context(
            running(
                command,
                lambda: answers(tracking, name) == 200,
                env=local("mlflow"),
                cwd=tmp_path,
                stdout=log,
                stderr=log,
            )
        )
        path = "/api/2.0/mlflow/experiments/get?experiment_id=0"
        assert answers(tracking, name, path) == 200
        assert answers(tracking, "elsewhere.example.org", path) == 403
        register(f"http://127.0.0.1:{tracking}", model)
        server = subprocess.Popen(
            [sys.executable, "-m", "kidney.serving", "--port", "0"],
            cwd=tmp_path,
            env=local("server") | {"KIDNEY_MODEL": str(tmp_path / "models" / "kidney.onnx")},
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            address = server.stdout.readline().split()[-1]
            (tmp_path / "key").write_text(key)
            smoke = [sys.executable, ROOT / "deploy" / "smoke.py", "--url", address]
            smoke += ["--key-file", tmp_path / "key", "--expect-model", sha256(model)]
            subprocess.run(smoke, check=True)
            server.send_signal(signal.SIGTERM)
            assert server.wait(timeout=GUARD) == 0
        finally:
            server.kill()
            server.communicate()
