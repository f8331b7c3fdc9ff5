"""Models in the stack's bucket, each under its own SHA-256: what is named is what is pinned."""

import re
from pathlib import Path

import boto3

from kidney.artifact.reader import read_artifact
from kidney.files import sha256
from rollout.stack import DeployError, Stack, told


def key_of(model: str) -> str:
    """Return the key of a model in the bucket."""
    return f"models/{model}.onnx"


def upload_model(stack: Stack, path: Path) -> str:
    """Put a kidney.onnx into the bucket, if it is whole and not there yet.

    Returns:
        Its SHA-256, by which it is deployed.

    Raises:
        ArtifactError: it is no kidney.onnx, or damaged.
        DeployError: the bucket does not take it.
    """
    read_artifact(path)
    model = sha256(path)
    with told(f"{path} to go to {stack.model_bucket}", "Use an account that may write there."):
        boto3.client("s3").upload_file(
            str(path), stack.model_bucket, key_of(model), ExtraArgs={"ChecksumAlgorithm": "SHA256"}
        )
    return model


def check_model(stack: Stack, model: str) -> None:
    """See that the bucket has the model.

    Raises:
        DeployError: it has not, or `model` is no SHA-256.
    """
    if not re.fullmatch("[0-9a-f]{64}", model):
        raise DeployError(
            f"Expected the SHA-256 of a model, 64 hexadecimal digits, but got {model!r}.",
            "`python deploy/deploy.py model --stack STACK FILE` uploads one and prints it.",
        )
    with told(
        f"the model {model} in {stack.model_bucket}",
        "Upload it with `python deploy/deploy.py model --stack STACK FILE`.",
    ):
        boto3.client("s3").head_object(Bucket=stack.model_bucket, Key=key_of(model))
