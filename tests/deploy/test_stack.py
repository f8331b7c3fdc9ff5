"""The stack of deploy/compose.yaml without an engine: its own commands and variables.

MLflow is installed and started as deploy/mlflow.Dockerfile says, as user 10001; PostgreSQL is
Debian's, and moto speaks S3.
"""

import http.client
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from kidney.files import sha256
from kidney.serving.guards.keys import entry, new_key
from tests.deploy.test_compose import SECRETS, stack
from tests.helpers.dockerfile import MLFLOW, ROOT, one, stages
from tests.helpers.replay import Machine, as_user, machine
from tests.helpers.server_process import wait_until
from tests.helpers.tiny_model import write_tiny_model

SECONDS = 300
pytestmark = pytest.mark.slow

REGISTER = """
import sys, mlflow
client = mlflow.MlflowClient(sys.argv[1])
run = client.create_run(client.create_experiment("kidney"))
client.log_artifact(run.info.run_id, sys.argv[2], "model")
client.create_registered_model("kidney")
tags = {"sha256": sys.argv[3]}
folder = run.info.artifact_uri + "/model"
version = client.create_model_version("kidney", folder, run_id=run.info.run_id, tags=tags)
client.set_registered_model_alias("kidney", "champion", version.version)
print(run.info.artifact_uri)
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def accepts(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(command: list[str], ready: Callable[[], object], **options: object) -> Iterator[None]:
    process = subprocess.Popen(command, **options)
    try:
        wait_until(lambda: process.poll() is not None or ready(), SECONDS)
        assert process.poll() is None, command
        yield
    finally:
        process.send_signal(signal.SIGINT)  # to PostgreSQL: do not wait for clients
        process.wait(timeout=SECONDS)


@contextmanager
def postgres(folder: Path, port: int) -> Iterator[None]:
    """Run PostgreSQL with the user, database and password of the stack."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not found:
        pytest.skip("needs Debian's postgresql")
    folder.mkdir(mode=0o700)
    nobody = pwd.getpwnam("nobody").pw_uid
    (folder / "password").write_text(SECRETS["POSTGRES_PASSWORD"])
    for path in (folder, folder / "password"):
        shutil.chown(path, nobody)
    made = ["--username=mlflow", "--auth=scram-sha-256", f"--pwfile={folder / 'password'}"]
    as_nobody = as_user(nobody)
    quiet = {"stdout": subprocess.DEVNULL, "cwd": "/"}
    data = folder / "data"
    subprocess.run(
        [*as_nobody, found[-1] / "initdb", *made, f"--pgdata={data}"], check=True, **quiet
    )
    server = [*as_nobody, str(found[-1] / "postgres"), "-D", str(data), "-p", str(port)]
    check = [found[-1] / "pg_isready", "--host=127.0.0.1", f"--port={port}"]

    def ready() -> bool:
        return subprocess.run(check, **quiet).returncode == 0

    with running([*server, "-k", str(folder)], ready, **quiet):
        subprocess.run(
            [*as_nobody, f"PGPASSWORD={SECRETS['POSTGRES_PASSWORD']}", found[-1] / "createdb",
             "--host=127.0.0.1", f"--port={port}", "--username=mlflow", "mlflow"],
            check=True, **quiet,
        )  # fmt: skip
        yield


@pytest.fixture(scope="module")
def built() -> Iterator[Machine]:
    """What `docker build --file deploy/mlflow.Dockerfile` makes."""
    with machine(ROOT) as made:
        made.build(stages(MLFLOW)["0"])
        yield made


def test_the_server_serves_the_champion_of_the_stack(built: Machine, tmp_path: Path):
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
        return found

    stage = stages(MLFLOW)["0"]
    command = [str(tracking) if word == "5000" else word for word in one(stage, "CMD").argv]
    health = [word.replace(":5000", f":{tracking}") for word in one(stage, "HEALTHCHECK").argv]
    moto = str(Path(sys.executable).with_name("moto_server"))
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with ExitStack() as started:
        started.enter_context(postgres(built.root / "postgres", database))
        started.enter_context(
            running([moto, "-p", str(store)], lambda: accepts(store), cwd=tmp_path, **quiet)
        )
        for _ in range(2):  # where there is a bucket, too
            built.run(services["bucket"]["command"], env=local("bucket"))

        log = started.enter_context((tmp_path / "mlflow.log").open("w"))
        mlflow = built.start(
            command, env=local("mlflow"), stdout=log, stderr=log, start_new_session=True
        )
        try:

            def healthy() -> bool:
                return built.start(health, stderr=subprocess.DEVNULL).wait() == 0

            wait_until(lambda: mlflow.poll() is not None or healthy(), SECONDS)
            assert mlflow.poll() is None, (tmp_path / "mlflow.log").read_text()
            for host, status in ((f"mlflow:{tracking}", 200), ("elsewhere.example.org", 403)):
                client = http.client.HTTPConnection("127.0.0.1", tracking, timeout=60)
                client.request(
                    "GET", "/api/2.0/mlflow/experiments/get?experiment_id=0", headers={"Host": host}
                )
                assert client.getresponse().status == status
                client.close()

            built.path("/tmp/model.onnx").write_bytes(model.read_bytes())
            built.path("/tmp/model.onnx").chmod(0o644)
            address = f"http://127.0.0.1:{tracking}"
            said = built.run(["python3", "-c", REGISTER, address, "/tmp/model.onnx", sha256(model)])
            assert "mlflow-artifacts:/" in said

            own = local("server") | {"KIDNEY_MODEL": str(tmp_path / "models" / "kidney.onnx")}
            server = subprocess.Popen(
                [sys.executable, "-m", "kidney.serving", "--port", "0"],
                cwd=tmp_path,
                env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"} | own,
                stdout=subprocess.PIPE,
                text=True,
            )
            try:
                serving = server.stdout.readline().split()[-1]
                (tmp_path / "key").write_text(key)
                smoke = [sys.executable, ROOT / "deploy" / "smoke.py", "--url", serving]
                smoke += ["--key-file", tmp_path / "key", "--expect-model", sha256(model)]
                subprocess.run(smoke, check=True)
                server.send_signal(signal.SIGTERM)
                assert server.wait(timeout=SECONDS) == 0
            finally:
                server.kill()
                server.communicate()
        finally:
            os.killpg(mlflow.pid, signal.SIGKILL)  # with its workers
            mlflow.wait()
