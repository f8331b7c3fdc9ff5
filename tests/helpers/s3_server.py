"""A server that speaks S3."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import boto3
import pytest
import requests
from moto.server import ThreadedMotoServer

from kidney.remote import object_store


@contextmanager
def s3_server(bucket: str) -> Iterator[Any]:
    """Yield a client of a server with one bucket, which every other client finds meanwhile, too."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_REGION", "eu-central-1")
        patch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
        patch.setenv("no_proxy", "127.0.0.1,localhost")
        patch.setattr(object_store, "_connect", cache(object_store._connect.__wrapped__))
        client = boto3.client("s3")
        place = {"LocationConstraint": "eu-central-1"}
        client.create_bucket(Bucket=bucket, CreateBucketConfiguration=place)
        yield client
        requests.post(
            f"http://{host}:{port}/moto-api/reset", timeout=60
        )  # the next one starts empty
    server.stop()
