"""The settings of `kidney dicom`, from its environment: KIDNEY_DICOM_ and the name in capitals."""

import os
from collections.abc import Mapping
from dataclasses import field, fields
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, StringConstraints, ValidationError
from pydantic.dataclasses import dataclass

from kidney.errors import ConfigError

PREFIX = "KIDNEY_DICOM_"

_Url = Annotated[str, StringConstraints(pattern=r"^https?://[^/@?#]+[^@?#]*[^/@?#]$")]
_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """Settings of one process; secrets are kept out of its representation.

    Attributes:
        archive: root of the archive's DICOMweb services, without a slash at its end.
        archive_user: of HTTP basic authentication at the archive; empty: none.
        archive_password: of the same.
        server: address of the HTTP server that predicts.
        server_key: a key of the server; empty: it asks for none.
        ca: file with the certificates that are trusted; None: those of the system.
        certificate: file with the client's certificate and key, for mutual TLS; None: none.
        state: the sqlite file that remembers what was done.
        poll_seconds: pause between two queries for series.
        stable_seconds: how long the number of slices has to stay the same before a series counts
            as complete.
        retry_seconds: pause before a failed series is tried again; it doubles with each attempt.
        retry_limit_seconds: the longest such pause.
        timeout_seconds: without a byte from the archive or the server.
        study_days: only studies of the last so many days are asked for, and those without a date
            are not found then; 0: all.
        max_slices: a series with more is not fetched.
        captures: whether a Secondary Capture series of the decisive slices is stored too.
        segmentation: whether a binary segmentation of the evidence is stored too.
        metrics_host: address that the metrics are served at.
        metrics_port: port of the metrics; 0: none.
    """

    archive: _Url = "http://127.0.0.1:8042/dicom-web"
    archive_user: str = ""
    archive_password: str = field(default="", repr=False)
    server: _Url = "http://127.0.0.1:8000"
    server_key: str = field(default="", repr=False)
    ca: Path | None = None
    certificate: Path | None = None
    state: Path = Path("kidney-dicom.sqlite")
    poll_seconds: _Seconds = 5.0
    stable_seconds: _Seconds = 30.0
    retry_seconds: _Seconds = 10.0
    retry_limit_seconds: _Seconds = 3600.0
    timeout_seconds: _Seconds = 120.0
    study_days: _Count = 0
    max_slices: _Count = 1000
    captures: bool = False
    segmentation: bool = False
    metrics_host: str = "127.0.0.1"
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = 0


def from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings; what is unset or empty keeps its default.

    Raises:
        ConfigError: a value cannot work; the message names its variable.
    """
    variables = {one.name: PREFIX + one.name.upper() for one in fields(Settings)}
    values = {name: environment.get(variable, "").strip() for name, variable in variables.items()}
    given: dict[str, Any] = {name: text for name, text in values.items() if text}
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        raise ConfigError(
            f"Expected {variables[name]} to have a value that works, but got {given[name]!r}: "
            f"{first['msg']}.",
            f"Correct {variables[name]} or unset it to use the default.",
        ) from None
