"""The settings of a server, from its environment: KIDNEY_ and the name in capitals."""

import os
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    StringConstraints,
    ValidationError,
    WrapValidator,
)
from pydantic.dataclasses import dataclass

from kidney.errors import ConfigError
from kidney.imaging.pictures import MAX_PIXELS

PREFIX = "KIDNEY_"


def _expected(what: str) -> WrapValidator:
    """Replace every validation message of a type by what was expected."""

    def check(value: Any, validate: Callable[[Any], Any]) -> Any:
        try:
            return validate(value)
        except ValidationError:
            raise ValueError(what) from None

    return WrapValidator(check)


def _split(value: Any) -> Any:
    return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value


_Count = Annotated[int, Field(gt=0), _expected("a whole number above 0")]
_Digit = Annotated[int, Field(ge=0, le=9), _expected("a whole number, 0 to 9")]
_Days = Annotated[int, Field(ge=0, le=3650), _expected("days, 0 to 3650")]
_Port = Annotated[int, Field(ge=0, le=65535), _expected("a port, 0 to 65535")]
_Seconds = Annotated[FiniteFloat, Field(ge=0), _expected("seconds, 0 or more")]
_Duration = Annotated[FiniteFloat, Field(gt=0), _expected("seconds, more than 0")]
_Switch = Annotated[bool, _expected("on or off")]
_Sha256 = Annotated[
    str,
    StringConstraints(to_lower=True, pattern="(?i)^[0-9a-f]{64}$"),
    _expected("64 hexadecimal digits, as sha256sum prints them"),
]
_Rate = Annotated[
    str,
    StringConstraints(
        to_lower=True, pattern=r"(?i)^((off)?|[1-9]\d{0,9}/(second|minute|hour|day))$"
    ),
    AfterValidator(lambda rate: "" if rate == "off" else rate),
    _expected("a rate such as 600/minute, or off"),
]
_List = Annotated[tuple[str, ...], BeforeValidator(_split)]
_Origins = Annotated[
    tuple[Annotated[str, Field(pattern=r"^https?://[a-z0-9.-]+(:\d+)?$")], ...],
    BeforeValidator(_split),
    _expected("origins such as https://viewer.example.org, no *"),
]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """Settings of one server.

    Attributes:
        model: the kidney.onnx to serve.
        model_sha256: the SHA-256 that it must have; None: any.
        model_from: where it is fetched from before the server starts, as
            `kidney.remote.fetch_model` takes it: `kidney@champion`, s3:// or https://;
            empty: it is there.
        watch_seconds: how often the model is checked for a newer one, which is loaded without a
            pause; 0: never.
        host: address to listen on.
        port: port to listen on; 0: a free one.
        workers: processes, each with its own copy of the model.
        threads: threads that compute one prediction; None: one for each core.
        queue: requests for predictions that one process holds at a time; more are refused.
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
            /hour or /day, in one burst or spread; off or empty: none.
        cors_origins: origins whose pages may read answers, separated by commas or spaces.
        session_secret: signs the sessions of the page; empty: one that lives as long as the server.
        feedback_file: sqlite file that keeps results by id and readers' feedback on them, see
            `kidney.feedback`; None: feedback is off.
        history_days: how many days of own results the page lists for who is signed in; 0: none.
        proxies: how many proxies stand before the server; that many entries of X-Forwarded-For and
            X-Forwarded-Proto are trusted.
    """

    model: Path = Path("artifacts/kidney.onnx")
    model_sha256: _Sha256 | None = None
    model_from: str = ""
    watch_seconds: _Seconds = 5.0
    host: str = "127.0.0.1"
    port: _Port = 8000
    workers: _Count = 1
    threads: _Count | None = None
    queue: _Count = 32
    deadline_seconds: _Duration = 30.0
    max_upload_bytes: _Count = 256 * 1024 * 1024
    max_files: _Count = 1000
    max_pixels: _Count = MAX_PIXELS
    max_request_pixels: _Count = 600 * 512 * 512
    max_frames: _Count = 1000
    max_zip_ratio: _Count = 100
    auth: _Switch = True
    api_keys: _List = ()
    api_keys_file: Path | None = None
    rate_limit: _Rate = "600/minute"
    cors_origins: _Origins = ()
    session_secret: str = ""
    feedback_file: Path | None = None
    history_days: _Days = 0
    proxies: _Digit = 0


def from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings; what is unset or empty keeps its default.

    Raises:
        ConfigError: a value cannot work; the message names its variable.
    """
    variables = {field.name: PREFIX + field.name.upper() for field in fields(Settings)}
    values = {name: environment.get(variable, "").strip() for name, variable in variables.items()}
    given: dict[str, Any] = {name: text for name, text in values.items() if text}
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        raise ConfigError(
            f"Expected {variables[name]} to be {first['ctx']['error']}, but got {given[name]!r}.",
            f"Correct {variables[name]} or unset it to use the default.",
        ) from error
