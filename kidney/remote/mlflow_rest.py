"""A version of the registered model: its names, its files, and where an MLflow server has them.

The server is asked by its REST interface, so fetching needs no mlflow.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from kidney.errors import ArtifactError, ConfigError
from kidney.remote.http import RefusedError, read_url, without_secrets

_MAX_BYTES = 2**20
_NO_SUCH = (400, 404)  # MLflow's answers for an unknown alias and an unknown version


@dataclass(frozen=True)
class VersionFile:
    """One file of a version.

    Attributes:
        path: where it lies in the version's folder.
        signature: where its signature lies there, if it was signed.
        sha256_tag: the tag of the version that has its SHA-256.
    """

    path: str
    signature: str
    sha256_tag: str


FILES = {
    "float32": VersionFile("model.onnx", "kidney.onnx.sig", "sha256"),  # MLflow gives it this name
    "int8": VersionFile("int8/kidney.int8.onnx", "int8/kidney.int8.onnx.sig", "int8_sha256"),
}


@dataclass(frozen=True)
class Reference:
    """A version as people call it: `kidney@champion`, `kidney@3`, `models:/kidney/3`.

    Attributes:
        name: of the registered model.
        which: an alias, or the number of a version.
    """

    name: str
    which: str

    def __str__(self) -> str:
        return f"{self.name}@{self.which}"

    @property
    def number(self) -> str | None:
        """The version's number; None: `which` is an alias."""
        return self.which if self.which.isdecimal() else None


@dataclass(frozen=True)
class Source:
    """Where a file lies and what is known of it before it is here.

    Attributes:
        address: http(s), s3:// or the path of a file.
        signature: the same of its signature.
        sha256: 64 hexadecimal digits; None: unknown.
        headers: what to send to the host of both.
    """

    address: str
    signature: str
    sha256: str | None
    headers: Mapping[str, str]


def read_reference(text: str) -> Reference | None:
    """Read the name of a version; None where the text is none."""
    found = re.fullmatch(r"([^/@:]+)@([\w.-]+)|models:/([^/@:]+)[@/]([\w.-]+)", text)
    return Reference(found[1] or found[3], found[2] or found[4]) if found else None


def file_of(reference: Reference, tags: Mapping[str, str], precision: str) -> VersionFile:
    """Return which file of a version has this precision, float32 or int8.

    Raises:
        ConfigError: there is no such precision.
        ArtifactError: this version does not have it.
    """
    if precision not in FILES:
        raise ConfigError(
            f"Expected a precision of {' or '.join(FILES)}, but got {precision!r}.",
            "Correct --precision.",
        )
    if precision != "float32" and FILES[precision].sha256_tag not in tags:
        raise ArtifactError(
            f"Expected {reference} to hold {FILES[precision].path}, but it does not.",
            "Take it in float32, or register a version whose export kept the quantised file.",
        )
    return FILES[precision]


def find_version(server: str, reference: Reference, precision: str = "float32") -> Source:
    """Ask an MLflow server where a file of a version lies.

    The account is `USER:PASSWORD@` of the address, else MLFLOW_TRACKING_USERNAME and
    MLFLOW_TRACKING_PASSWORD, else MLFLOW_TRACKING_TOKEN. What the server keeps in s3:// or at a
    web address is fetched there, everything else through the server.

    Args:
        server: http(s) address of the server.
        reference: the version.
        precision: float32 or int8.

    Raises:
        ArtifactError: the server has no such version or file.
        DataError: the server does not answer, or refuses.
    """
    server, headers = _with_credentials(server.rstrip("/"))

    def ask(what: str, **query: str) -> Any:
        return _ask(f"{server}/api/2.0/mlflow/{what}?{urlencode(query)}", headers, reference)

    try:
        if reference.number:
            answer = ask("model-versions/get", name=reference.name, version=reference.number)
        else:
            answer = ask("registered-models/alias", name=reference.name, alias=reference.which)
        version = {"name": reference.name, "version": answer["model_version"]["version"]}
        tags = {tag["key"]: tag["value"] for tag in answer["model_version"].get("tags", [])}
        folder = ask("model-versions/get-download-uri", **version)["artifact_uri"]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ArtifactError(
            f"Expected an MLflow server at {without_secrets(server)}, but its answer is of another "
            "kind.",
            "See that --tracking or MLFLOW_TRACKING_URI is the address that its pages have.",
        ) from error
    file = file_of(reference, tags, precision)
    address, signature = (
        _address(server, folder, path, version) for path in (file.path, file.signature)
    )
    at_server = urlsplit(address).netloc == urlsplit(server).netloc
    return Source(address, signature, tags.get(file.sha256_tag), headers if at_server else {})


def _address(server: str, folder: str, path: str, version: Mapping[str, str]) -> str:
    if folder.startswith(("s3://", "http://", "https://")):
        return f"{folder}/{path}"
    if folder.startswith("mlflow-artifacts:"):
        parts = urlsplit(folder)
        proxy = urlunsplit((urlsplit(server).scheme, parts.netloc, "", "", ""))
        inside = f"{parts.path.strip('/')}/{path}"
        return f"{proxy if parts.netloc else server}/api/2.0/mlflow-artifacts/artifacts/{inside}"
    # A disk or store that the server alone reaches: the address from which its own pages read.
    return f"{server}/model-versions/get-artifact?{urlencode({**version, 'path': path})}"


def _with_credentials(server: str) -> tuple[str, Mapping[str, str]]:
    """Return the address with user and password, and the headers with a token."""
    parts = urlsplit(server)
    user = os.environ.get("MLFLOW_TRACKING_USERNAME")
    password = os.environ.get("MLFLOW_TRACKING_PASSWORD")
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    if "@" in parts.netloc:
        return server, {}
    if user and password:
        secret = f"{quote(user, safe='')}:{quote(password, safe='')}"
        return urlunsplit((parts.scheme, f"{secret}@{parts.netloc}", parts.path, "", "")), {}
    return server, {"Authorization": f"Bearer {token}"} if token else {}


def _ask(url: str, headers: Mapping[str, str], reference: Reference) -> Any:
    try:
        return json.loads(read_url(url, headers, _MAX_BYTES))
    except RefusedError as error:
        if error.status in _NO_SUCH:
            raise ArtifactError(
                f"Expected the MLflow server to know {reference}, but it has no such version "
                f"({without_secrets(url)}).",
                "See its page Models for names, versions and aliases; scripts/promote.py makes a "
                "champion.",
            ) from error
        raise RefusedError(
            error.problem,
            "It asks for an account (MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
            "MLFLOW_TRACKING_TOKEN), or was started without this host name in --allowed-hosts.",
            error.status,
        ) from error
