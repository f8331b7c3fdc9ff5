"""What an installation of the server may set, from its environment."""

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kidney.errors import ConfigError
from kidney.imaging.pictures import MAX_PIXELS

PREFIX = "KIDNEY_"


@dataclass(frozen=True)
class Settings:
    """Settings of one server; each is read from KIDNEY_ and its name in capitals.

    Attributes:
        model: the kidney.onnx to serve.
        model_sha256: what `sha256sum` has to say of it; None: anything.
        model_from: where it is fetched from before the server starts, as
            `kidney.remote.fetch_model` takes it: `kidney@champion`, s3:// or https://;
            empty: it is there.
        watch_seconds: how often the model is looked for anew, to be swapped without a pause; 0:
            never.
        host: address to listen on.
        port: port to listen on; 0: a free one.
        workers: processes, each with its own copy of the model.
        threads: threads that compute one prediction; None: one for each core.
        queue: requests for predictions that one process holds at a time; more are sent away.
        deadline_seconds: how long one request may take.
        max_upload_bytes: size of a whole request.
        max_files: files in one request, those inside of an archive included.
        max_pixels: pixels of one picture, checked before it is decoded.
        max_request_pixels: pixels of all slices of a request together.
        max_frames: frames of one DICOM file.
        max_zip_ratio: how many times larger an archive may become.
        auth: whether requests need a key or a session.
        api_keys: NAME:SHA-256 of each key, separated by commas or spaces; see
            `kidney.serving.guards.keys`.
        api_keys_file: a file with more of them, one a line, such as a secret of Docker.
        rate_limit: of one key, or of one address where keys are off: a number/second, /minute,
            /hour or /day, so many at once or spread; off or empty: none.
        cors_origins: origins whose pages may read answers, separated by commas or spaces.
        session_secret: signs the sessions of the page; empty: one that lives as long as the server.
        proxies: how many proxies stand before the server; that many entries of X-Forwarded-For and
            X-Forwarded-Proto are believed.
    """

    model: Path = Path("artifacts/kidney.onnx")
    model_sha256: str | None = None
    model_from: str = ""
    watch_seconds: float = 5.0
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    threads: int | None = None
    queue: int = 32
    deadline_seconds: float = 30.0
    max_upload_bytes: int = 256 * 1024 * 1024
    max_files: int = 1000
    max_pixels: int = MAX_PIXELS
    max_request_pixels: int = 600 * 512 * 512
    max_frames: int = 1000
    max_zip_ratio: int = 100
    auth: bool = True
    api_keys: tuple[str, ...] = ()
    api_keys_file: Path | None = None
    rate_limit: str = "600/minute"
    cors_origins: tuple[str, ...] = ()
    session_secret: str = ""
    proxies: int = 0


def from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings; what is unset or empty keeps its default.

    Raises:
        ConfigError: a value cannot work; the message names its variable.
    """
    found: dict[str, Any] = {}
    for field, read in _READ.items():
        name = PREFIX + field.upper()
        if text := environment.get(name, "").strip():
            found[field] = read(name, text)
    return Settings(**found)


def _sha256(name: str, text: str) -> str:
    if re.fullmatch(r"[0-9a-f]{64}", text.lower()):
        return text.lower()
    raise ConfigError(
        f"Expected {name} to be 64 hexadecimal digits, but got {text!r}.",
        f"Set it to what sha256sum says of the model, or unset {name}.",
    )


def _count(name: str, text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    raise _wrong(name, "a whole number above 0", text)


def _few(name: str, text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) < 10:
        return int(text)
    raise _wrong(name, "a whole number, 0 to 9", text)


def _port(name: str, text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) < 65536:
        return int(text)
    raise _wrong(name, "a port, 0 to 65535", text)


def _seconds(name: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if 0 <= seconds < math.inf:
        return seconds
    raise _wrong(name, "seconds, 0 or more", text)


def _duration(name: str, text: str) -> float:
    if seconds := _seconds(name, text):
        return seconds
    raise _wrong(name, "seconds, more than 0", text)


def _switch(name: str, text: str) -> bool:
    if text.lower() in ("on", "off"):
        return text.lower() == "on"
    raise _wrong(name, "on or off", text)


def _rate(name: str, text: str) -> str:
    if text.lower() == "off":
        return ""
    if re.fullmatch(r"[1-9]\d{0,9}/(second|minute|hour|day)", text):
        return text
    raise _wrong(name, "a rate such as 600/minute, or off", text)


def _origins(name: str, text: str) -> tuple[str, ...]:
    origins = _list(name, text)
    for origin in origins:
        if not re.fullmatch(r"https?://[a-z0-9.-]+(:\d+)?", origin):
            raise _wrong(name, "origins such as https://viewer.example.org, no *", text)
    return origins


def _text(_: str, text: str) -> str:
    return text


def _path(_: str, text: str) -> Path:
    return Path(text)


def _list(_: str, text: str) -> tuple[str, ...]:
    return tuple(text.replace(",", " ").split())


def _wrong(name: str, expected: str, got: str) -> ConfigError:
    return ConfigError(
        f"Expected {name} to be {expected}, but got {got!r}.",
        f"Correct {name} or unset it to use the default.",
    )


_READ: Mapping[str, Callable[[str, str], Any]] = {
    "model": _path,
    "model_sha256": _sha256,
    "model_from": _text,
    "watch_seconds": _seconds,
    "host": _text,
    "port": _port,
    "workers": _count,
    "threads": _count,
    "queue": _count,
    "deadline_seconds": _duration,
    "max_upload_bytes": _count,
    "max_files": _count,
    "max_pixels": _count,
    "max_request_pixels": _count,
    "max_frames": _count,
    "max_zip_ratio": _count,
    "auth": _switch,
    "api_keys": _list,
    "api_keys_file": _path,
    "rate_limit": _rate,
    "cors_origins": _origins,
    "session_secret": _text,
    "proxies": _few,
}
