"""What is deployed, what was before, and who deploys now: parameters of SSM below /STACK/.

SSM keeps the last hundred versions of a parameter, so the history needs no place of its own.
"""

import getpass
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

import boto3

from rollout.stack import DeployError, Stack, told


@dataclass(frozen=True)
class Release:
    """What serves, or served.

    Attributes:
        image: REPOSITORY_URI@DIGEST.
        model: SHA-256 of the kidney.onnx.
        before: the version of the record that it replaced; None: it was the first.
        at: when it took over, ISO 8601.
        by: who deployed it.
    """

    image: str
    model: str
    before: int | None = None
    at: str = ""
    by: str = ""

    def same(self, other: "Release | None") -> bool:
        """Tell whether the other one serves the same."""
        return other is not None and (self.image, self.model) == (other.image, other.model)

    def __str__(self) -> str:
        return f"image {self.image.rpartition(':')[2][:12]}, model {self.model[:12]}"


def read_release(stack: Stack) -> tuple[Release | None, int | None]:
    """Return the deployed release and the version of its record; None, None: nothing is."""
    history = read_history(stack)
    return (history[0][1], history[0][0]) if history else (None, None)


def read_history(stack: Stack) -> list[tuple[int, Release]]:
    """Return the releases with the versions of their records, the latest first."""
    client = boto3.client("ssm")
    with told("to read what was deployed", f"Use a role that may read {_record(stack)}."):
        try:
            pages = client.get_paginator("get_parameter_history").paginate(Name=_record(stack))
            rows = [row for page in pages for row in page["Parameters"]]
        except client.exceptions.ParameterNotFound:
            return []
    rows.sort(key=lambda row: -row["Version"])
    return [(row["Version"], Release(**json.loads(row["Value"]))) for row in rows]


def write_release(stack: Stack, release: Release) -> None:
    """Note what serves now."""
    stamped = replace(release, at=_now(), by=_who())
    with told("to note what is deployed", f"Use a role that may write {_record(stack)}."):
        boto3.client("ssm").put_parameter(
            Name=_record(stack), Value=json.dumps(asdict(stamped)), Type="String", Overwrite=True
        )


@contextmanager
def lock(stack: Stack) -> Iterator[None]:
    """Let no other deployment of the stack run meanwhile.

    Raises:
        DeployError: another one runs.
    """
    client = boto3.client("ssm")
    holder = f"{_who()} since {_now()}"
    with told("to lock the deployment", f"Use a role that may write {_lock(stack)}."):
        try:
            client.put_parameter(Name=_lock(stack), Value=holder, Type="String", Overwrite=False)
        except client.exceptions.ParameterAlreadyExists:
            raise DeployError(
                f"Expected no other deployment of {stack.name}, but one runs: "
                f"{lock_holder(stack)}.",
                "Wait until it has ended; if it was killed, `python deploy/deploy.py unlock`.",
            ) from None
    try:
        yield
    finally:
        unlock(stack)


def lock_holder(stack: Stack) -> str | None:
    """Return who deploys now, and since when."""
    client = boto3.client("ssm")
    try:
        found: dict[str, Any] = client.get_parameter(Name=_lock(stack))["Parameter"]
    except client.exceptions.ParameterNotFound:
        return None
    return str(found["Value"])


def unlock(stack: Stack) -> None:
    """Take the lock away, whoever has it."""
    client = boto3.client("ssm")
    with told("to unlock", f"Use a role that may delete {_lock(stack)}."):
        try:
            client.delete_parameter(Name=_lock(stack))
        except client.exceptions.ParameterNotFound:
            return


def _record(stack: Stack) -> str:
    return f"/{stack.name}/release"


def _lock(stack: Stack) -> str:
    return f"/{stack.name}/lock"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _who() -> str:
    run = os.environ.get("GITHUB_RUN_ID")
    if run:
        return f"{os.environ.get('GITHUB_ACTOR', 'GitHub')}, run {run}"
    return f"{getpass.getuser()}@{socket.gethostname()}"
