"""Files from the web, whole and checked, through requests.

Not pooch: it logs addresses with the passwords in them, and has no limit of size.
"""

import errno
import os
import re
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit, urlunsplit

import requests
from requests import exceptions
from urllib3.exceptions import ConnectTimeoutError

from kidney.errors import ConfigError, DataError
from kidney.files import sha256 as sha256_of
from kidney.files import whole_file

MAX_BYTES = 64 * 2**30
NO_HEADERS: Mapping[str, str] = MappingProxyType({})
Progress = Callable[[int, int | None], None]  # bytes so far, bytes in all if known

_SECONDS = 30.0  # without a byte
_REACHABLE_SECONDS = 4.0
_WAITS = (1.0, 2.0, 4.0, 8.0)  # seconds before each further try
_BLOCK = 1 << 16  # bytes
_BY_HAND = "or download it by hand and give the path of the file."
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
_CUT = (requests.ConnectionError, requests.Timeout, exceptions.ChunkedEncodingError)
_FINAL = (exceptions.SSLError, exceptions.ProxyError)
_REMEDIES = {
    401: f"It asks for an account: see that user and password are right, {_BY_HAND}",
    403: f"It may ask for an account or the acceptance of a licence: see its web page, {_BY_HAND}",
}


class RefusedError(DataError):
    """The server refuses, in a way that stays; `status` is that of HTTP."""

    def __init__(self, problem: str, remedy: str, status: int = 0) -> None:
        super().__init__(problem, remedy)
        self.status = status


class _TransientError(Exception):
    """The request failed in a way that may pass."""


def is_url(text: str) -> bool:
    """Tell whether the text begins like an address that can be asked for: http or https."""
    return re.match(r"https?://", text, re.IGNORECASE) is not None


def is_hub(reference: str) -> bool:
    """Tell whether a reference names a repository of a Hugging Face Hub."""
    return reference.startswith("hf://")


def hub_address(reference: str) -> str:
    """Return the address of kidney.onnx in a repository of a Hugging Face Hub.

    Args:
        reference: hf://OWNER/NAME, or hf://OWNER/NAME@REVISION: a branch, a tag, a commit.

    Raises:
        ConfigError: it is not of this form.
    """
    found = re.fullmatch(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", reference)
    if not found:
        raise ConfigError(
            f"Expected hf://OWNER/NAME or hf://OWNER/NAME@REVISION, but got {reference!r}.",
            "For example hf://kidney/lesions@v1.",
        )
    hub = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    revision = quote(found[2] or "main", safe="")
    return f"{hub.rstrip('/')}/{found[1]}/resolve/{revision}/kidney.onnx"


def without_secrets(url: str) -> str:
    """Return an address without user and password, and of http(s) without query and fragment."""
    if not re.match(r"[a-z][a-z0-9+.-]*://[^/]", url, re.IGNORECASE):
        return url
    parts = _split(url)
    if parts is None:
        return f"{url.partition(':')[0].lower()}://(no valid address)"
    rest = ("", "") if is_url(url) else (parts.query, parts.fragment)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, *rest))


def check_url(url: str) -> None:
    """See that `url` can be asked for.

    Raises:
        DataError: it is of another kind, such as file:, or has no readable host.
    """
    if not is_url(url) or _split(url) is None:
        raise DataError(
            f"Expected an address https://HOST/FILE, but got {without_secrets(url)!r}.",
            "See that it begins with https:// or http://, and that @ : / ? # in a user or password "
            "are written as %40 %3A %2F %3F %23.",
        )


def check_reachable(host: str) -> None:
    """Open and close one HTTPS connection, before a client that would retry for minutes.

    Raises:
        OSError: `host` cannot be resolved or does not answer within 4 seconds.
    """
    socket.create_connection((host, 443), timeout=_REACHABLE_SECONDS).close()


def show_progress(done: int, total: int | None) -> None:
    """Write the bytes so far on stderr, where that is a terminal."""
    if sys.stderr.isatty():
        of = f" of {total / 2**20:.1f}" if total else ""
        end = "\n" if done == total else ""
        print(f"\r{done / 2**20:.1f}{of} MiB", end=end, file=sys.stderr, flush=True)


def read_url(url: str, headers: Mapping[str, str], max_bytes: int) -> bytes:
    """Return a small file from memory; see `download` for arguments and errors."""
    try:
        return b"".join(_blocks(url, headers, max_bytes))
    except _TransientError as error:
        raise DataError(
            f"{without_secrets(url)} failed: {error}.", "Run the same command again later."
        ) from None


def download(
    url: str,
    path: Path,
    *,
    sha256: str | None = None,
    max_bytes: int = MAX_BYTES,
    headers: Mapping[str, str] = NO_HEADERS,
    progress: Progress | None = None,
) -> Path:
    """Download `url` to `path`, which appears only once it is whole.

    Args:
        url: an http or https address; `USER:PASSWORD@` is sent to that host only.
        path: where the file goes; the folders above it are made.
        sha256: 64 hexadecimal digits; a file there that has it is not downloaded again.
        max_bytes: the most bytes to accept.
        headers: what to send along; `Authorization` goes to that host only.
        progress: called with the bytes so far and the bytes in all.

    Raises:
        RefusedError: the server refuses, for example since there is no such file.
        DataError: the file cannot be had, is another one than expected, or does not fit the disk.
    """
    expected = sha256.strip().lower() if sha256 else None
    if expected and not re.fullmatch(r"[0-9a-f]{64}", expected):
        raise DataError(
            f"Expected a SHA-256 of 64 hexadecimal digits, but got {sha256!r}.",
            "Copy it as `sha256sum FILE` prints it, or leave it out.",
        )
    if expected and path.is_file() and sha256_of(path) == expected:
        return path

    def watch(done: int, total: int | None) -> None:
        if not done and (total or 0) > (free := shutil.disk_usage(path.parent).free):
            raise OSError(errno.ENOSPC, f"{total} bytes to come, {free} free")
        if progress:
            progress(done, total)

    try:
        with whole_file(path) as temporary:
            for wait in (*_WAITS, None):
                try:
                    with temporary.open("wb") as file:
                        for block in _blocks(url, headers, max_bytes, watch, bool(expected)):
                            file.write(block)
                    break
                except _TransientError as error:
                    if wait is None:
                        raise DataError(
                            f"{without_secrets(url)} failed {len(_WAITS) + 1} times in a row: "
                            f"{error}.",
                            "Run the same command again later.",
                        ) from None
                    time.sleep(wait)
            if expected and (found := sha256_of(temporary)) != expected:
                raise DataError(
                    f"Expected {without_secrets(url)} to have the SHA-256 {expected}, but it has "
                    f"{found}; it was removed.",
                    "Run again in case it was damaged on its way. If it is the same again, the "
                    "file or the hash has changed: ask its publisher before you trust it.",
                )
    except OSError as error:
        raise DataError(
            f"{without_secrets(url)} cannot be written to {path}: {error.strerror or error}.",
            "See that the disk has room and the folder can be written to.",
        ) from error
    return path


def _blocks(
    url: str,
    headers: Mapping[str, str],
    max_bytes: int,
    progress: Progress = lambda *_: None,
    any_length: bool = True,
) -> Iterator[bytes]:
    """Yield the bytes of one request; without `any_length` the server must give the length.

    Errors are raised from None, since those of requests quote the address with its secrets.
    """
    check_url(url)
    shown = without_secrets(url)
    try:
        with _get(url, headers) as response:
            status = f"HTTP {response.status_code} {response.reason or ''}".rstrip()
            if response.status_code in _TRANSIENT:
                raise _TransientError(status)
            if response.status_code != requests.codes.ok:
                other = f"See that the address is right, {_BY_HAND}"
                remedy = _REMEDIES.get(response.status_code, other)
                raise RefusedError(f"{shown} was refused: {status}.", remedy, response.status_code)
            length = response.headers.get("Content-Length", "")
            total = int(length) if length.isdecimal() else None
            if total is None and not any_length and "Transfer-Encoding" not in response.headers:
                raise DataError(
                    f"{shown} does not give its length, so nothing shows whether it is whole.",
                    f"Give its SHA-256, {_BY_HAND}",
                )
            done = 0
            progress(0, total)
            for block in chain([b""], response.iter_content(_BLOCK)):
                done += len(block)
                if max(done, total or 0) > max_bytes:
                    raise DataError(
                        f"{shown} has more than the {max_bytes} bytes that are allowed.",
                        "See that the address is that of the right file.",
                    )
                yield block
                progress(done, total)
    except (requests.RequestException, ValueError) as error:
        # What urllib3 raised has no address in its text.
        cause = getattr(error.args[0], "reason", None) if error.args else None
        final = isinstance(error, _FINAL) or isinstance(cause, ConnectTimeoutError)
        if isinstance(error, _CUT) and not final:
            cut = "it timed out" if "timed out" in str(error) else "the connection was cut"
            raise _TransientError(cut) from None
        reason = re.sub(r"^HTTPS?Connection.*?\): ", "", str(cause or type(error).__name__))
        raise DataError(
            f"{shown} cannot be reached: {reason}.",
            "See that the address is right and that this machine is online (a proxy is taken from "
            f"HTTPS_PROXY, certificates from SSL_CERT_FILE), {_BY_HAND}",
        ) from None


def _get(url: str, headers: Mapping[str, str]) -> requests.Response:
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    # Not compressed, so that Content-Length counts the bytes of the file.
    own = {"User-Agent": "kidney-tumor-identification", "Accept-Encoding": "identity"}
    return requests.get(
        urlunsplit((parts.scheme, host, parts.path, parts.query, "")),
        headers=own | dict(headers),
        auth=_account(user),
        hooks={"response": _check_redirect},
        stream=True,
        timeout=_SECONDS,
        verify=os.environ.get("SSL_CERT_FILE") or True,
    )


def _account(user: str) -> tuple[str, str] | Callable[[Any], Any]:
    if not user:
        return lambda request: request  # without any, requests would send what ~/.netrc has
    name, _, password = user.partition(":")
    return unquote(name, "latin-1"), unquote(password, "latin-1")  # back to the bytes as escaped


def _check_redirect(response: requests.Response, *_: Any, **__: Any) -> None:
    """Refuse a redirect to where anyone on the way could exchange the file, or into a network."""
    if not response.is_redirect:
        return
    target = urljoin(response.url, response.headers["location"])
    if not is_url(target) or (response.url[:6] == "https:" and target[:6].lower() != "https:"):
        raise DataError(
            f"{without_secrets(response.url)} leads to {target.partition(':')[0]}:, which is not "
            "followed.",
            f"Give the final https address of the file, {_BY_HAND}",
        )
    if not _is_internal(response.url) and _is_internal(target):
        raise DataError(
            f"{without_secrets(response.url)} leads into an internal network, which is not "
            "followed.",
            f"Give the final address of the file, if that is meant, {_BY_HAND}",
        )


def _is_internal(url: str) -> bool:
    """Tell whether an address is not of the public internet, as that of a cloud's metadata."""
    try:
        found = socket.getaddrinfo(urlsplit(url).hostname, None)
    except OSError:  # only a proxy knows it
        return False
    return not all(ip_address(str(row[4][0]).partition("%")[0]).is_global for row in found)


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port  # a stray / or ? in a password shows here, as a port that is no number
    except ValueError:
        return None
    return parts if parts.hostname else None
