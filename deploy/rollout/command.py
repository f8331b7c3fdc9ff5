"""The command that runs on the instance: deploy/instance, sent by SSM and waited for."""

import shlex
import time
from collections.abc import Callable
from pathlib import Path

import boto3

from rollout.records import Release
from rollout.stack import DeployError, Stack, told

DOCUMENT = "AWS-RunShellScript"
INSTANCE = Path(__file__).parents[1] / "instance"
_SECONDS = 900  # a pull, a model and its first answer
_PAUSE = 3.0
_RUNNING = ("Pending", "InProgress", "Delayed")


def script_of(stack: Stack, release: Release) -> str:
    """Return the shell script that lets the release serve."""
    variables = {
        "STACK": stack.name,
        "REGION": stack.region,
        "IMAGE": release.image,
        "MODEL": release.model,
        "BUCKET": stack.model_bucket,
        "DOMAIN": stack.domain,
        "LOG_GROUP": stack.log_group,
        "CADDY_IMAGE": stack.caddy_image,
    }
    lines = ["#!/usr/bin/env bash", "set -euo pipefail"]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    lines += ["program=${KIDNEY_PROGRAM:-/opt/kidney}", 'mkdir -p "$program"']
    for name in ("metrics.py", "replace.sh"):
        text = (INSTANCE / name).read_text(encoding="utf-8").rstrip("\n")
        lines += [f"cat >\"$program/{name}\" <<'END OF {name}'", text, f"END OF {name}"]
    lines += ['exec bash "$program/replace.sh"']
    return "\n".join(lines)


def run_on_instance(
    stack: Stack,
    release: Release,
    say: Callable[[str], None],
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Let the release serve on the instance; what served before goes on where that fails.

    Raises:
        DeployError: the command could not be sent, or failed; the message has its last lines.
    """
    client = boto3.client("ssm")
    with told(
        f"the instance {stack.instance_id} to take a command",
        "Use a role that may send it.",
        InvalidInstanceId="It is stopped, or has not yet told SSM that it is there: wait some "
        "minutes after the stack was made, and see its state in EC2.",
    ):
        command = client.send_command(
            InstanceIds=[stack.instance_id],
            DocumentName=DOCUMENT,
            Comment=f"kidney: {release}"[:100],
            Parameters={
                "commands": script_of(stack, release).splitlines(),
                "executionTimeout": [str(_SECONDS)],
            },
            TimeoutSeconds=120,
        )["Command"]["CommandId"]
    say(f"Sent {release} as command {command}")
    shown = ""
    for _ in range(int((_SECONDS + 180) / _PAUSE)):
        try:
            with told("to see how the command goes", "Use a role that may see it."):
                done = client.get_command_invocation(
                    CommandId=command, InstanceId=stack.instance_id
                )
        except DeployError as error:
            if "InvocationDoesNotExist" not in error.problem:
                raise
            pause(_PAUSE)  # SSM needs a moment to know what it was told
            continue
        output = done["StandardOutputContent"].rstrip()
        if new := output.removeprefix(shown).strip():
            say("\n".join(f"  {line}" for line in new.splitlines()))
        shown = output
        if done["Status"] == "Success":
            return
        if done["Status"] not in _RUNNING:
            raise DeployError(
                f"Expected {release} to take over on {stack.instance_id}, but the command is "
                f"{done['StatusDetails']}: {done['StandardErrorContent'].strip()[-2000:]}",
                f"What served before still does. All of it: aws ssm get-command-invocation "
                f"--command-id {command} --instance-id {stack.instance_id}",
            )
        pause(_PAUSE)
    raise DeployError(
        f"Expected the command {command} to end, but it is still {done['Status']}.",
        "See whether the instance still answers to SSM, and restart it if not.",
    )
