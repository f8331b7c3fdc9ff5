"""What the instance does with a release, in the very shell that SSM starts there."""

import fcntl
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from kidney.serving.guards.access import check_auth
from kidney.serving.guards.keys import find_key, load_keys
from kidney.serving.settings import from_environment
from tests.helpers.deploy_modules import command, records, stacks
from tests.helpers.machine import Machine

REGISTRY = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
STACK = stacks.Stack(
    name="kidney",
    region="eu-central-1",
    url="https://kidney.example.org",
    domain="kidney.example.org",
    instance_id="i-0123456789abcdef0",
    repository="kidney-server",
    repository_uri=f"{REGISTRY}/kidney-server",
    model_bucket="models",
    log_group="/kidney/server",
    architecture="arm64",
    caddy_image="docker.io/library/caddy:2@sha256:" + "c" * 64,
)


def release(machine: Machine, image: str = "a", model: bytes = b"model") -> Any:
    """A release whose model lies in the bucket."""
    digest = hashlib.sha256(model).hexdigest()
    (machine.fake / "bucket" / f"{digest}.onnx").write_bytes(model)
    return records.Release(f"{STACK.repository_uri}@sha256:{image * 64}", digest)


def replace(machine: Machine, wanted: Any, status: int = 0) -> str:
    """Let it run there; return what it says."""
    ran = machine.run(command.script_of(STACK, wanted))
    assert ran.returncode == status, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def test_the_server_gets_settings_that_it_starts_with(machine: Machine):
    replace(machine, first := release(machine))
    given = machine.settings("kidney-blue")
    settings = from_environment(given)
    check_auth(settings)
    assert settings.model_sha256 == first.model
    assert settings.proxies == 1
    names = [key.name for key in load_keys(settings)]
    assert names == ["instance-metrics", "radiology"]
    own = (machine.home / "metrics.key").read_text().strip()
    assert find_key(own, load_keys(settings)).name == "instance-metrics"
    assert (machine.home / "metrics.key").stat().st_mode & 0o077 == 0
    assert (machine.home / "server.env").stat().st_mode & 0o077 == 0


def test_the_container_may_do_nothing_but_serve(machine: Machine):
    replace(machine, wanted := release(machine))
    (run,) = (call for call in machine.calls if "run --detach --name kidney" in call)
    for flag in ("--read-only", "--cap-drop ALL", "--security-opt no-new-privileges"):
        assert flag in run
    assert "--publish 127.0.0.1:8001:8000" in run  # the world comes by the proxy
    (limit,) = set(re.findall(r"--memory(?:-swap)? (\d+)k", run))  # no swap beside it
    assert 0 < int(limit) * 1024 < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert f"{wanted.model}.onnx:/model/kidney.onnx:ro" in run
    assert "--log-driver awslogs" in run
    assert "--privileged" not in run
    caddy = (machine.home / "caddy" / "Caddyfile").read_text()
    assert "respond /metrics 404" in caddy  # they stay on the machine


def test_sessions_and_the_own_key_outlive_a_deployment(machine: Machine):
    replace(machine, release(machine))
    before = machine.settings("kidney-blue")
    replace(machine, release(machine, "b"))
    after = machine.settings("kidney-green")
    for name in ("KIDNEY_SESSION_SECRET", "KIDNEY_API_KEYS"):
        assert after[name] == before[name]
    assert len(before["KIDNEY_SESSION_SECRET"]) == 64


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("no-pull", ""),
        ("dies", "did not become ready"),
        ("deaf", "did not become ready"),
        ("no-reload", "Caddy did not take"),
    ],
)
def test_the_old_one_stays_where_a_part_fails(machine: Machine, part: str, said: str):
    replace(machine, first := release(machine))
    machine.let(part)
    assert said in replace(machine, release(machine, "b"), status=1)
    assert machine.running == {"kidney-blue": first.image}
    assert machine.routed == "kidney-blue"
    machine.let(part, False)
    replace(machine, second := release(machine, "b"))
    assert machine.running == {"kidney-green": second.image}
    assert machine.routed == "kidney-green"


def test_a_model_that_is_not_the_one_of_its_name_is_refused(machine: Machine):
    wanted = release(machine)
    (machine.fake / "bucket" / f"{wanted.model}.onnx").write_bytes(b"another")
    assert f"does not have the SHA-256 {wanted.model}" in replace(machine, wanted, status=1)
    assert not machine.running
    release(machine)
    replace(machine, wanted)


def test_without_keys_of_callers_nothing_starts(machine: Machine):
    (machine.fake / "api-keys").unlink()
    assert "/kidney/api-keys cannot be read" in replace(machine, release(machine), status=1)
    assert not machine.running


def test_two_at_a_time_are_refused(machine: Machine):
    machine.home.mkdir()
    with (machine.home / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "Another deployment runs" in replace(machine, release(machine), status=1)
    assert not machine.running


def test_ssm_takes_the_script_as_it_is(machine: Machine):
    script = command.script_of(STACK, release(machine))
    assert "{{" not in script  # SSM takes such for parameters of its own
    assert len(json.dumps(script)) < 30_000
    assert script.startswith("#!")
    program = machine.environment["KIDNEY_PROGRAM"]
    machine.run(script)
    for name in ("replace.sh", "metrics.py"):
        assert Path(program, name).read_text() == (command.INSTANCE / name).read_text()


def test_values_cannot_become_commands(machine: Machine, tmp_path: Path):
    hostile = records.Release(f"x@sha256:$(touch {tmp_path}/a)'; touch {tmp_path}/b #", "m")
    machine.run(command.script_of(STACK, hostile))
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "b").exists()
