"""What an installation of the server may set, from its environment."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kidney.errors import ConfigError
from kidney.imaging.pictures import MAX_PIXELS


@dataclass(frozen=True)
class Settings:
    """Settings of one server.

    Attributes:
        model: the kidney.onnx to serve.
        model_sha256: what `sha256sum` has to say of it; None: anything.
        model_from: where it is fetched from before the server starts, as `kidney.fetch` takes it:
            `kidney@champion`, s3:// or https://; empty: it is there.
        threads: threads that compute one prediction; None: one for each core.
        max_upload_bytes: size of a whole request.
        max_files: files in one request.
        max_pixels: pixels of one picture, checked before it is decoded.
    """

    model: Path = Path("artifacts/kidney.onnx")
    model_sha256: str | None = None
    model_from: str = ""
    threads: int | None = None
    max_upload_bytes: int = 20 * 1024 * 1024
    max_files: int = 32
    max_pixels: int = MAX_PIXELS


def from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read KIDNEY_MODEL, KIDNEY_MODEL_FROM, KIDNEY_MODEL_SHA256, KIDNEY_THREADS and KIDNEY_MAX_...

    These are KIDNEY_MAX_UPLOAD_BYTES, KIDNEY_MAX_FILES and KIDNEY_MAX_PIXELS.

    What is unset or empty keeps its default.

    Raises:
        ConfigError: a value that has to be a whole number above 0, or a SHA-256, is none.
    """
    defaults = Settings()
    return Settings(
        model=Path(environment.get("KIDNEY_MODEL") or defaults.model),
        model_sha256=_sha256(environment, "KIDNEY_MODEL_SHA256"),
        model_from=environment.get("KIDNEY_MODEL_FROM", ""),
        threads=_count(environment, "KIDNEY_THREADS"),
        max_upload_bytes=_count(environment, "KIDNEY_MAX_UPLOAD_BYTES")
        or defaults.max_upload_bytes,
        max_files=_count(environment, "KIDNEY_MAX_FILES") or defaults.max_files,
        max_pixels=_count(environment, "KIDNEY_MAX_PIXELS") or defaults.max_pixels,
    )


def _sha256(environment: Mapping[str, str], name: str) -> str | None:
    text = environment.get(name, "").strip().lower()
    if not text or re.fullmatch(r"[0-9a-f]{64}", text):
        return text or None
    raise ConfigError(
        f"Expected {name} to be 64 hexadecimal digits, but got {text!r}.",
        f"Set it to what sha256sum says of the model, or unset {name}.",
    )


def _count(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name, "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    raise ConfigError(
        f"Expected {name} to be a whole number above 0, but got {text!r}.",
        f"Correct {name} or unset it to use the default.",
    )
