"""Objects in S3 and what speaks its language.

Account, region and endpoint are found as boto3 finds them: AWS_ACCESS_KEY_ID, AWS_PROFILE, the role
of the machine; AWS_REGION; AWS_ENDPOINT_URL.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from kidney.errors import DataError
from kidney.remote.http import RefusedError

_SECONDS = 3600  # how long an address is good for
_PAGE = 1000  # objects that are listed at a time; S3 gives no more


class Listed(NamedTuple):
    """An object as its bucket lists it; the tag changes with the content."""

    name: str  # s3://BUCKET/KEY
    tag: str


def is_s3(text: str) -> bool:
    """Tell whether the text begins like the name of an object: s3://."""
    return text.startswith("s3://")


def presigned(name: str) -> str:
    """Return a web address under which `s3://BUCKET/KEY` can be had for an hour.

    Raises:
        DataError: boto3 is not installed, has no account, or the name is none.
        RefusedError: there is no such object for this account.
    """
    place = _place(name)
    client = _client(name)
    with _told(name):
        client.head_object(**place)  # says what is wrong, and finds the region of the bucket
        return str(client.generate_presigned_url("get_object", place, ExpiresIn=_SECONDS))


class Store:
    """What can be read, written and listed with one account. Threads may share it.

    Args:
        name: of an object or prefix, for errors.

    Raises:
        DataError: boto3 is not installed, or nothing is known of an account or region. All methods
            raise it too where S3 cannot be reached, and RefusedError where it refuses.
    """

    def __init__(self, name: str) -> None:
        self._client = _client(name)

    def listed(self, prefix: str) -> Iterator[Listed]:
        """Yield the objects whose names begin with `prefix`, sorted, a page at a time."""
        bucket, _, begin = prefix.removeprefix("s3://").partition("/")
        pages = self._client.get_paginator("list_objects_v2")
        with _told(prefix):
            for page in pages.paginate(
                Bucket=bucket, Prefix=begin, PaginationConfig={"PageSize": _PAGE}
            ):
                for entry in page.get("Contents", ()):
                    yield Listed(f"s3://{bucket}/{entry['Key']}", entry["ETag"].strip('"'))

    def read(self, name: str, most: int | None = None) -> bytes:
        """Return the object's bytes; one with more than `most` is refused with status 413."""
        with _told(name):
            answer = self._client.get_object(**_place(name))
            if most is not None and answer["ContentLength"] > most:
                raise RefusedError(
                    f"Expected {name} to have at most {most:,} bytes, but it has "
                    f"{answer['ContentLength']:,}.",
                    "Name objects that hold slices.",
                    413,
                )
            return bytes(answer["Body"].read())

    def write(self, name: str, data: bytes) -> None:
        """Put an object; S3 shows it whole or not at all."""
        with _told(name):
            self._client.put_object(**_place(name), Body=data)

    def remove(self, name: str) -> None:
        """Remove an object, if it is there."""
        with _told(name):
            self._client.delete_object(**_place(name))


def _place(name: str) -> dict[str, str]:
    bucket, _, key = name.removeprefix("s3://").partition("/")
    if not bucket or not key:
        raise DataError(f"Expected s3://BUCKET/KEY, but got {name!r}.", "Name the file itself.")
    return {"Bucket": bucket, "Key": key}


def _client(name: str) -> Any:
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        raise DataError(
            f"Expected boto3 to be installed to reach {name}, but it is not.",
            "pip install 'kidney-tumor-identification[s3]', or use files or an https address.",
        ) from error
    with _told(name):
        return boto3.client("s3", config=Config(signature_version="s3v4"))


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Turn what boto3 raises into errors for people."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
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
