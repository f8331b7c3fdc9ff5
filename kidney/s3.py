"""Objects in S3 and what speaks its language: a presigned address, which any download can use."""

from typing import Any

from kidney.errors import DataError
from kidney.urls import RefusedError

_SECONDS = 3600  # how long an address is good for


def is_s3(text: str) -> bool:
    """Tell whether the text begins like the name of an object: s3://."""
    return text.startswith("s3://")


def presigned(name: str) -> str:
    """Return a web address under which `s3://BUCKET/KEY` can be had for an hour.

    Account, region and endpoint are found as boto3 finds them: AWS_ACCESS_KEY_ID, AWS_PROFILE, the
    role of the machine; AWS_REGION; AWS_ENDPOINT_URL.

    Raises:
        DataError: boto3 is not installed, has no account, or the name is none.
        RefusedError: there is no such object for this account.
    """
    bucket, _, key = name.removeprefix("s3://").partition("/")
    if not bucket or not key:
        raise DataError(f"Expected s3://BUCKET/KEY, but got {name!r}.", "Name the file itself.")
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError as error:
        raise DataError(
            f"Expected boto3 to be installed to fetch {name}, but it is not.",
            "pip install 'kidney-tumor-identification[s3]', or give an https address of the file.",
        ) from error
    place = {"Bucket": bucket, "Key": key}
    try:
        client: Any = boto3.client("s3", config=Config(signature_version="s3v4"))
        client.head_object(**place)  # says what is wrong, and finds the region of the bucket
        return str(client.generate_presigned_url("get_object", place, ExpiresIn=_SECONDS))
    except ClientError as error:
        status = int(error.response["ResponseMetadata"]["HTTPStatusCode"])
        raise RefusedError(
            f"{name} was refused: HTTP {status}.",
            "See that bucket and key are right, and that the account (AWS_PROFILE or "
            "AWS_ACCESS_KEY_ID) may read the object.",
            status,
        ) from error
    except (BotoCoreError, ValueError) as error:
        raise DataError(
            f"{name} cannot be reached: {error}.",
            "Give an account (AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY), a "
            "region (AWS_REGION) and, for another provider, AWS_ENDPOINT_URL.",
        ) from error
