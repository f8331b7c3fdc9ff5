"""The stack of the template in moto, and an instance that runs what SSM sends."""

import dataclasses
import functools
import json
import threading
import warnings
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from tests.helpers.deploy_modules import DEPLOY, command, models, stacks
from tests.helpers.machine import Machine
from tests.helpers.tiny_model import CARD, write_tiny_model

NAME = "kidney"
REGION = "eu-central-1"
PROVIDER = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com"
PARAMETERS = {
    "DomainName": "kidney.example.org",
    "OidcProviderArn": PROVIDER,
    "GitHubSubject": "repo:hospital@1/kidney@2",
    "AlarmEmail": "alarms@example.org",
}


@pytest.fixture(scope="module")
def aws() -> Iterator[None]:
    """Moto in the place of AWS: for a whole module, since its clients take long to make."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        patch.setenv("AWS_REGION", REGION)
        with mock_aws():
            patch.setattr(boto3, "client", functools.cache(boto3.client))
            yield


def make_stack() -> Any:
    """Make the stack of the template."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # moto passes over some resources; cfn-lint knows them
        boto3.client("cloudformation").create_stack(
            StackName=NAME,
            TemplateBody=(DEPLOY / "template.yaml").read_text("utf-8"),
            Parameters=[
                {"ParameterKey": key, "ParameterValue": value} for key, value in PARAMETERS.items()
            ],
            Capabilities=["CAPABILITY_IAM"],
        )
    return stacks.read_stack(NAME)


@pytest.fixture(scope="module")
def made_stack(aws: None) -> Any:  # noqa: ARG001
    return make_stack()


@pytest.fixture
def stack(made_stack: Any) -> Any:
    """The stack, with nothing pushed and nothing deployed."""
    parameters = boto3.client("ssm")
    parameters.delete_parameters(Names=[f"/{NAME}/{name}" for name in ("release", "lock")])
    registry = boto3.client("ecr")
    if pushed := registry.list_images(repositoryName=made_stack.repository)["imageIds"]:
        registry.batch_delete_image(repositoryName=made_stack.repository, imageIds=pushed)
    return made_stack


def push(stack: Any, tag: str, *, scanned: bool = True) -> str:
    """Push an image, as docker does to ECR, and let its scan end; return its URI."""
    kind = "application/vnd.oci.image.manifest.v1+json"
    layer = {"digest": f"sha256:{tag.encode().hex().zfill(64)}", "size": 1}
    manifest = {"schemaVersion": 2, "mediaType": kind, "config": layer, "layers": [layer]}
    client = boto3.client("ecr")
    digest = client.put_image(
        repositoryName=stack.repository, imageManifest=json.dumps(manifest), imageTag=tag
    )["image"]["imageId"]["imageDigest"]
    if scanned:
        scan(stack, digest)
    return f"{stack.repository_uri}@{digest}"


def scan(stack: Any, digest: str) -> None:
    boto3.client("ecr").start_image_scan(
        repositoryName=stack.repository, imageId={"imageDigest": digest}
    )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def ssm(monkeypatch: pytest.MonkeyPatch, machine: Machine, stack: Any) -> "Courier":
    """Moto's SSM says Success whatever it is told; here the machine does it."""
    courier = Courier(machine, stack)
    real = boto3.client
    monkeypatch.setattr(
        command.boto3,
        "client",
        lambda name, *args, **kwargs: courier if name == "ssm" else real(name, *args, **kwargs),
    )
    courier.real = real("ssm")
    return courier


class Courier:
    """SSM, but that a command reaches the machine."""

    real: Any

    def __init__(self, machine: Machine, stack: Any) -> None:
        self.machine, self.stack, self.done = machine, stack, {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def send_command(self, **asked: Any) -> dict[str, Any]:
        # moto takes any instance; SSM knows those that have told it that they are there.
        if asked["InstanceIds"] != [self.stack.instance_id]:
            raise self.real.exceptions.InvalidInstanceId(
                {"Error": {"Code": "InvalidInstanceId", "Message": "unknown"}}, "SendCommand"
            )
        sent = self.real.send_command(**asked)
        lines = asked["Parameters"]["commands"]
        if not lines[0].startswith("#!"):  # not of a deployment, and not for this machine
            return sent
        self._fill_bucket()
        ran = self.machine.run("\n".join(lines))
        self.done[sent["Command"]["CommandId"]] = {
            "Status": "Failed" if ran.returncode else "Success",
            "StatusDetails": "Failed" if ran.returncode else "Success",
            "StandardOutputContent": ran.stdout,
            "StandardErrorContent": ran.stderr,
        }
        return sent

    def get_command_invocation(self, *, CommandId: str, InstanceId: str) -> dict[str, Any]:  # noqa: N803
        self.real.get_command_invocation(CommandId=CommandId, InstanceId=InstanceId)
        return self.done[CommandId]

    def _fill_bucket(self) -> None:
        """Lay what the bucket holds where the machine's `aws s3 cp` finds it."""
        client = boto3.client("s3")
        for row in client.list_objects_v2(Bucket=self.stack.model_bucket).get("Contents", ()):
            path = self.machine.fake / "bucket" / Path(row["Key"]).name
            client.download_file(self.stack.model_bucket, row["Key"], str(path))


@pytest.fixture
def two_models(stack: Any, tmp_path: Path) -> tuple[str, str]:
    """The SHA-256 of two models in the bucket."""
    first, second = (
        models.upload_model(
            stack,
            write_tiny_model(tmp_path / f"{run}.onnx", card=dataclasses.replace(CARD, run=run)),
        )
        for run in ("one", "two")
    )
    return first, second


class Outside:
    """The address of the server: what the machine's proxy would pass the request to, answers."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.broken_images = machine, set()
        outside = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = outside.machine.routed
                image = outside.machine.running.get(name or "")
                up = image is not None and image not in outside.broken_images
                self.send_response(200 if up and self.path == "/readyz" else 502)
                self.end_headers()
                if up:
                    model = outside.machine.settings(name)["KIDNEY_MODEL_SHA256"]
                    self.wfile.write(json.dumps({"status": "ready", "sha256": model}).encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def outside(machine: Machine) -> Iterator[Outside]:
    found = Outside(machine)
    thread = threading.Thread(target=found.server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield found
    found.server.shutdown()
    thread.join()
    found.server.server_close()
