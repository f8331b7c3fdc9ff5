"""Fetch a kidney.onnx from wherever it lies; it has its name only once every check has passed."""

import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from kidney.artifact.predictor import check_artifact
from kidney.errors import ArtifactError, ConfigError, DataError, KidneyError
from kidney.files import sha256 as sha256_of
from kidney.files import whole_file
from kidney.remote.http import (
    NO_HEADERS,
    Progress,
    RefusedError,
    download,
    hub_address,
    is_hub,
    is_url,
    read_url,
    without_secrets,
)
from kidney.remote.mlflow_rest import Source, find_version, read_reference
from kidney.remote.object_store import download_object, is_object, read_object
from kidney.remote.signature import read_public_key, verify

_MAX_SMALL = 2**18  # bytes of a hash or a signature; a Sigstore bundle has a few thousand
_MISSING = (403, 404, 410)  # S3 answers 403 without the right to list the bucket


def fetch_model(
    reference: str | Source,
    out: Path,
    *,
    tracking: str | None = None,
    precision: str = "float32",
    sha256: str | None = None,
    public_key: Path | None = None,
    signature: Path | None = None,
    progress: Progress | None = None,
    log: Callable[[str], None] = lambda text: print(text, file=sys.stderr),
) -> Path:
    """Fetch a model and check it: its SHA-256, its signature, and its card as the server would.

    The SHA-256 is that of the version's tag, of the argument, or of `ADDRESS.sha256`, which shows
    what was damaged on its way and not who wrote it. Without any, the log says that the file is not
    verified; a signature and the card are checked all the same. A file of the right SHA-256 that
    is there already is checked and not fetched again.

    Args:
        reference: `NAME@ALIAS`, `NAME@VERSION` or `models:/...` of a registered model, `s3://...`,
            `hf://OWNER/NAME@REVISION`, an http(s) address, or a path; or a Source that was found
            before.
        out: where the file goes; another file there stays until every check has passed.
        tracking: http(s) address of the MLflow server; None: MLFLOW_TRACKING_URI.
        precision: which file of a registered version, float32 or int8.
        sha256: what the file must have.
        public_key: a PEM file; the signature must verify by it. None: KIDNEY_PUBLIC_KEY, and where
            that is unset, signatures are not looked at.
        signature: a file; None: what lies beside the source, under its name with .sig.
        progress: called with the bytes so far and the bytes in all.
        log: called with one line on how the file was verified.

    Returns:
        `out`.

    Raises:
        DataError: the file cannot be had, or has another SHA-256.
        ArtifactError: there is no such version, or the file is refused.
        ConfigError: an argument cannot work.
    """
    key_file = public_key or Path(os.environ.get("KIDNEY_PUBLIC_KEY") or "")
    key = read_public_key(key_file) if key_file.name else None
    if signature and not key:
        raise ConfigError(
            "Expected a public key beside the signature, but got none.",
            "Give --public-key FILE or set KIDNEY_PUBLIC_KEY.",
        )
    source = _locate(reference, tracking, precision) if isinstance(reference, str) else reference
    signed = _signature(source, signature) if key else b""
    expected, origin = _expected(source, sha256)

    def check(file: Path) -> str:
        try:
            if key:
                verify(file, signed, key)
            check_artifact(file)
        except KidneyError as error:
            file.unlink(missing_ok=True)
            raise ArtifactError(
                f"{without_secrets(source.address)} is refused and was removed. {error.problem}",
                error.remedy,
            ) from error
        return sha256_of(file)

    try:
        if expected and out.is_file() and sha256_of(out) == expected:
            found = check(out)
        else:
            with whole_file(out) as temporary:
                _copy(source, temporary, expected, progress)
                found = check(temporary)
    except OSError as error:
        raise DataError(
            f"Expected to write {out}, but: {error.strerror or error}.",
            "Give a file in a folder that can be written to, on a disk that has room.",
        ) from error
    by_key = "signature verified" if key else "no public key, so no signature was looked at"
    log(f"{out}: SHA-256 {found}, {origin}; {by_key}.")
    return out


def expected_sha256(reference: str, sha256: str | None = None) -> str | None:
    """Look up the SHA-256 that a model has at its source, without fetching it.

    Args:
        reference: as for `fetch_model`.
        sha256: the only one to accept; None: any.

    Returns:
        64 hexadecimal digits; None: the source gives none.

    Raises:
        DataError: the source does not answer.
        ArtifactError: there is no such version, or it is not the one of `sha256`.
        ConfigError: the reference names no model.
    """
    return _expected(_locate(reference, None, "float32"), sha256)[0]


def _locate(reference: str, tracking: str | None, precision: str) -> Source:
    if version := read_reference(reference):
        server = tracking or os.environ.get("MLFLOW_TRACKING_URI") or ""
        if is_url(server):
            return find_version(server, version, precision)
        raise ConfigError(
            f"Expected the http(s) address of an MLflow server to find {reference}, but got "
            f"{without_secrets(server)!r}.",
            "Give --tracking or set MLFLOW_TRACKING_URI; scripts/fetch_model.py reads sqlite, too.",
        )
    if precision != "float32":
        raise ConfigError(
            f"Expected the version of a registered model to take {precision} of, but got "
            f"{without_secrets(reference)}.",
            "Leave --precision out and name the file itself.",
        )
    if is_hub(reference):
        token = os.environ.get("HF_TOKEN")
        headers = {"Authorization": f"Bearer {token}"} if token else NO_HEADERS
        address = hub_address(reference)
        return Source(address, _beside(address, ".sig"), None, headers)
    if is_url(reference) or is_object(reference) or Path(reference).is_file():
        return Source(reference, _beside(reference, ".sig"), None, NO_HEADERS)
    raise ConfigError(
        "Expected NAME@ALIAS, NAME@VERSION, hf://OWNER/NAME, s3://BUCKET/KEY, an http(s) address "
        f"or a file, but got {reference!r}.",
        "For example kidney@champion.",
    )


def _beside(address: str, suffix: str) -> str:
    if not is_url(address):
        return address + suffix
    parts = urlsplit(address)
    return urlunsplit(parts._replace(path=parts.path + suffix))


def _signature(source: Source, given: Path | None) -> bytes:
    shown = without_secrets(source.address)
    try:
        found = given.read_bytes() if given else _read(source.signature, source)
    except DataError as error:  # an MLflow server answers 500 where its S3 has none
        raise DataError(
            f"A public key is configured, but the signature of {shown} cannot be had: "
            f"{error.problem}",
            f"{error.remedy} What is not signed is refused: give --signature or ask the publisher.",
        ) from error
    except OSError as error:
        raise ConfigError(
            f"Expected a signature at {given}, but: {error.strerror}.", "Correct --signature."
        ) from error
    if found is None:
        raise ArtifactError(
            f"Expected a signature of {shown} at {without_secrets(source.signature)}, since a "
            "public key is configured, but there is none.",
            "Give it with --signature, or ask the publisher to sign the file.",
        )
    return found


def _expected(source: Source, given: str | None) -> tuple[str | None, str]:
    """Return the SHA-256 that the file must have, and where it is from."""
    digits = given.strip().lower() if given else None
    if digits and source.sha256 and digits != source.sha256:
        raise ArtifactError(
            f"Expected {without_secrets(source.address)} to have the SHA-256 {digits}, but its "
            f"registry says it has {source.sha256}.",
            "The alias may name another version by now: see which one you want.",
        )
    if digits:
        return digits, "as given"
    if source.sha256:
        return source.sha256, "as the version's tag says"
    text = (_read(_beside(source.address, ".sha256"), source) or b"").decode("utf-8", "replace")
    if found := re.match(r"\s*([0-9a-fA-F]{64})\b", text):
        return found[1].lower(), "as the .sha256 beside it says"
    return None, "NOT VERIFIED: no --sha256 was given and no .sha256 lies beside it"


def _read(address: str, source: Source) -> bytes | None:
    """Return a small file beside the source; None where there is none."""
    try:
        if is_url(address):
            return read_url(address, source.headers, _MAX_SMALL)
        if is_object(address):
            return read_object(address, _MAX_SMALL)
        return Path(address).read_bytes() if Path(address).is_file() else None
    except RefusedError as error:
        if error.status in _MISSING:
            return None
        raise


def _copy(source: Source, path: Path, sha256: str | None, progress: Progress | None) -> None:
    """Copy the source to `path`, and see that it has the SHA-256."""
    if is_url(source.address):
        download(source.address, path, sha256=sha256, headers=source.headers, progress=progress)
        return
    if is_object(source.address):
        download_object(source.address, path, progress)
    elif Path(source.address).is_file():
        shutil.copyfile(source.address, path)
    else:
        raise DataError(
            f"Expected a file at {source.address}, but there is none to be read from here.",
            "Ask the MLflow server that it belongs to: --tracking http(s)://HOST.",
        )
    if sha256 and (found := sha256_of(path)) != sha256:
        raise DataError(
            f"Expected {source.address} to have the SHA-256 {sha256}, but it has {found}.",
            "Copy it again; if it stays so, the file or the hash has changed.",
        )
