"""Addresses on the web: asked for with care, and told of without the secrets in them."""

import base64
import http.client
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

from kidney.errors import DataError

BY_HAND = "or download it by hand and give the path of the file."
_SAFE = "/%:@!$&'()*+,;=~?[]"  # in a path or query; spaces and the like are escaped
_BLOCK = 1 << 16  # bytes; what a kill of a download loses at most
_MAY_PASS = {408, 425, 429, 500, 502, 503, 504}
_REMEDIES = {
    401: f"It asks for an account: see that user and password are right, {BY_HAND}",
    403: f"It may ask for an account or the acceptance of a licence: see its web page, {BY_HAND}",
}


class UnreachableError(DataError):
    """No server answers at the address."""


class RefusedError(DataError):
    """The server refuses, in a way that stays; `status` is that of HTTP."""

    def __init__(self, problem: str, remedy: str, status: int = 0) -> None:
        super().__init__(problem, remedy)
        self.status = status


class PassingError(Exception):
    """The server failed in a way that may pass; `status` is that of HTTP, 0 without an answer."""

    def __init__(self, problem: str, status: int = 0) -> None:
        super().__init__(problem)
        self.status = status


def is_url(text: str) -> bool:
    """Tell whether the text begins like an address that can be asked for: http or https."""
    return re.match(r"https?://", text, re.IGNORECASE) is not None


def without_secrets(url: str) -> str:
    """Return an http(s) address without user, password, query and fragment; other text as it is."""
    if not is_url(url):
        return url
    parts = _split(url)
    if parts is None:
        return f"{url.partition(':')[0].lower()}://(no valid address)"
    return urlunsplit((parts.scheme, _host(parts.netloc), parts.path, "", ""))


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


def without_user(url: str) -> str:
    """Return the address of the file alone, its query included, for it tells files apart."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, _host(parts.netloc), parts.path, parts.query, ""))


def open_url(url: str, headers: Mapping[str, str], seconds: float) -> Any:
    """Ask for `url` and return the response, to be closed, once its headers are there.

    Args:
        url: an address that `check_url` accepts; `USER:PASSWORD@` goes to that host and no other.
        headers: what to send with it; `Authorization`, too, goes to that host and no other.
        seconds: how long to wait for the next byte.

    Raises:
        UnreachableError: no server answers.
        RefusedError: the server refuses, in a way that stays.
        DataError: the address leads nowhere, or to where it must not be followed.
        PassingError: the server fails, in a way that may pass, or answers 416.
    """
    opener = urllib.request.build_opener(_SafeRedirects)
    try:
        return opener.open(_request(url, headers), timeout=seconds)
    except urllib.error.HTTPError as error:
        error.close()
        status = f"HTTP {error.code} {http.client.responses.get(error.code, '')}".rstrip()
        if error.code in _MAY_PASS or error.code == 416:
            raise PassingError(status, error.code) from None
        raise RefusedError(
            f"{without_secrets(url)} was refused: {status}.",
            _REMEDIES.get(error.code, f"See that the address is right, {BY_HAND}"),
            error.code,
        ) from None  # the error itself carries the address, as the next ones may
    except (urllib.error.URLError, http.client.InvalidURL, ValueError) as error:
        reason = getattr(error, "reason", "it is no valid address")
        stays = isinstance(reason, ssl.SSLCertVerificationError | str)
        raise (DataError if stays else UnreachableError)(
            f"{without_secrets(url)} cannot be reached: {reason}.",
            "See that the address is right and that this machine is online (a proxy is taken from "
            f"HTTPS_PROXY, certificates from SSL_CERT_FILE), {BY_HAND}",
        ) from None
    except (OSError, http.client.HTTPException) as error:
        raise PassingError(f"the connection was cut: {error or type(error).__name__}") from error


def read_url(url: str, headers: Mapping[str, str], max_bytes: int, seconds: float) -> bytes:
    """Return a small answer from memory.

    Args:
        url: as for `open_url`.
        headers: as for `open_url`.
        max_bytes: the most to accept.
        seconds: how long to wait for the next byte.

    Raises:
        RefusedError: the server refuses, for example since there is no such file.
        DataError: it cannot be had, or is larger.
    """
    check_url(url)
    found = b""
    try:
        with open_url(url, headers, seconds) as response:
            for block in blocks(response):
                found += block
                if len(found) > max_bytes:
                    raise DataError(
                        f"Expected at most {max_bytes} bytes from {without_secrets(url)}, but got "
                        "more.",
                        "See that the address is that of the right file.",
                    )
    except PassingError as error:
        raise DataError(
            f"{without_secrets(url)} failed: {error}.", "Run the same command again later."
        ) from error
    return found


def blocks(response: Any) -> Iterator[bytes]:
    """Yield what the server sends; an error of the network is none of the disk's.

    Raises:
        PassingError: the connection was cut.
    """
    try:
        while block := response.read(_BLOCK):
            yield block
    except (OSError, http.client.HTTPException) as error:
        raise PassingError(f"the connection was cut: {error or type(error).__name__}") from error


def validator(response: Any) -> str:
    """Return what changes with the bytes: a strong ETag, else the date, else ""."""
    etag = response.headers.get("ETag", "")
    weak = etag.startswith("W/")  # of bytes that mean the same but are others
    found = str((not weak and etag) or response.headers.get("Last-Modified", ""))
    return found if found.isascii() and found.isprintable() else ""


def _request(url: str, headers: Mapping[str, str]) -> urllib.request.Request:
    parts = urlsplit(without_user(url))
    path, query = quote(parts.path, safe=_SAFE), quote(parts.query, safe=_SAFE)
    made = urllib.request.Request(urlunsplit((*parts[:2], path, query, "")))
    for name, value in headers.items():
        secret = name == "Authorization"
        (made.add_unredirected_header if secret else made.add_header)(name, value)
    made.add_header("User-Agent", "kidney-tumor-identification")  # some refuse urllib's own
    if user := urlsplit(url).netloc.rpartition("@")[0]:
        basic = base64.b64encode(unquote(user).encode()).decode()
        made.add_unredirected_header("Authorization", f"Basic {basic}")
    return made


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects, but not to where anyone on the way could exchange the file."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """Refuse the way from https to anything else."""
        if not is_url(newurl) or (req.type == "https" and urlsplit(newurl).scheme != "https"):
            raise DataError(
                f"{without_secrets(req.full_url)} leads to {newurl.partition(':')[0]}:, which is "
                "not followed.",
                f"Give the final https address of the file, {BY_HAND}",
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _host(netloc: str) -> str:
    return netloc.rpartition("@")[2]


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port  # a stray / or ? in a password shows here, as a port that is no number
    except ValueError:
        return None
    return parts if parts.hostname else None
