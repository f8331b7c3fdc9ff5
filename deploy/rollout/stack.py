"""What a stack of deploy/template.yaml says of itself, and AWS's refusals in words."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from kidney.errors import KidneyError


class DeployError(KidneyError):
    """A deployment must not begin, or has failed."""


@dataclass(frozen=True)
class Stack:
    """A stack; the fields after `name` are the outputs of the template, in other letters.

    Attributes:
        name: of the stack; parameters of a deployment lie below /NAME/.
        region: where it is.
        url: https address of the server.
        domain: its host name.
        instance_id: the machine that serves.
        repository: ECR repository, without the registry.
        repository_uri: with it.
        model_bucket: S3 bucket of the models.
        log_group: of the server's lines.
        architecture: of the machine, arm64 or amd64.
        caddy_image: the proxy.
    """

    name: str
    region: str
    url: str
    domain: str
    instance_id: str
    repository: str
    repository_uri: str
    model_bucket: str
    log_group: str
    architecture: str
    caddy_image: str


def read_stack(name: str) -> Stack:
    """Read the outputs of the stack.

    Raises:
        DeployError: there is none, it is not whole, or it is not of the template.
    """
    with told(f"the stack {name} to be read", "Correct --stack, AWS_REGION or the account."):
        client = boto3.client("cloudformation")
        (found,) = client.describe_stacks(StackName=name)["Stacks"]
    if not found["StackStatus"].endswith("_COMPLETE") or found["StackStatus"].startswith("DELETE"):
        raise DeployError(
            f"Expected the stack {name} to be complete, but it is {found['StackStatus']}.",
            "Wait for its update to end, or see its events in CloudFormation.",
        )
    outputs = {row["OutputKey"]: row["OutputValue"] for row in found.get("Outputs", ())}
    wanted = {
        field.name: field.name.title().replace("_", "")
        for field in fields(Stack)
        if field.name not in ("name", "region")
    }
    if missing := sorted(set(wanted.values()) - set(outputs)):
        raise DeployError(
            f"Expected the stack {name} to be of deploy/template.yaml, but it has no outputs "
            f"{', '.join(missing)}.",
            "Update the stack with the template of this commit.",
        )
    values = {name: outputs[key] for name, key in wanted.items()}
    return Stack(name=name, region=str(client.meta.region_name), **values)


@contextmanager
def told(expected: str, remedy: str, **remedies: str) -> Iterator[None]:
    """Turn what boto3 raises into a DeployError; `remedies` are by the code of the error."""
    try:
        yield
    except ClientError as error:
        said: dict[str, Any] = error.response["Error"]
        raise DeployError(
            f"Expected {expected}, but AWS says {said['Code']}: {said['Message']}",
            remedies.get(said["Code"], remedy),
        ) from error
    except BotoCoreError as error:
        raise DeployError(
            f"Expected {expected}, but: {error}.",
            "Give an account (AWS_PROFILE or a role) and a region (AWS_REGION).",
        ) from error
