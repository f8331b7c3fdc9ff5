"""API keys: made here, stored as hashes, compared in constant time.

    python -m kidney.serving.guards.keys radiology

prints a new key once, and the entry that KIDNEY_API_KEYS keeps of it.
"""

import argparse
import hashlib
import hmac
import re
import secrets
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from kidney.errors import ConfigError
from kidney.serving.settings import Settings

_NAME = r"[A-Za-z0-9._-]{1,64}"
_ENTRY = re.compile(rf"({_NAME}):([0-9a-fA-F]{{64}})")
_PREFIX = "kidney_"  # so that scanners for leaked secrets can know one
_BYTES = 32
REMEDY = (
    "Make one with `python -m kidney.serving.guards.keys NAME` and put the entry that it prints "
    "into KIDNEY_API_KEYS, or into a file named by KIDNEY_API_KEYS_FILE."
)


@dataclass(frozen=True)
class Key:
    """The entry of one key.

    Attributes:
        name: of its user or program; used in logs and limits.
        digest: SHA-256 of the key, 32 bytes. A key holds 256 random bits, so a hash that is slow
            to compute would protect it no better.
    """

    name: str
    digest: bytes


def new_key() -> str:
    """Return a key of 256 random bits."""
    return _PREFIX + secrets.token_urlsafe(_BYTES)


def entry(name: str, key: str) -> str:
    """Return the entry that is stored of a key: NAME:SHA-256.

    Raises:
        ConfigError: the name is invalid.
    """
    if not re.fullmatch(_NAME, name):
        raise ConfigError(
            f"Expected a name of 1 to 64 letters, digits, dots, dashes and underscores, but got "
            f"{name!r}.",
            "Name the key after who uses it, for example radiology-viewer.",
        )
    return f"{name}:{_digest(key).hex()}"


def load_keys(settings: Settings) -> tuple[Key, ...]:
    """Read the keys of the settings and of the file that they name.

    Raises:
        ConfigError: an entry is not NAME:SHA-256, a name is there twice, or the file cannot be
            read. The message never quotes an entry: it could be a key.
    """
    entries = list(settings.api_keys)
    if settings.api_keys_file is not None:
        try:
            lines = settings.api_keys_file.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"KIDNEY_API_KEYS_FILE cannot be read: {error}.", "Correct the path or its rights."
            ) from error
        entries += [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    keys: dict[str, Key] = {}
    for position, text in enumerate(entries, start=1):
        match = _ENTRY.fullmatch(text)
        if match is None:
            raise ConfigError(
                f"Expected API key {position} to be NAME:SHA-256, but it is not; it is not shown "
                "here, since it could be a key.",
                REMEDY,
            )
        if match[1] in keys:
            raise ConfigError(
                f"Expected a name for each API key, but {match[1]} is there twice.",
                "Name the newer one differently.",
            )
        keys[match[1]] = Key(match[1], bytes.fromhex(match[2]))
    return tuple(keys.values())


def find_key(key: str, keys: Iterable[Key]) -> Key | None:
    """Return the entry of a key; None: there is none.

    Every entry is compared, each in constant time, so that the time reveals nothing.
    """
    digest, found = _digest(key), None
    for known in keys:
        if hmac.compare_digest(digest, known.digest):
            found = known
    return found


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def main(arguments: list[str] | None = None) -> int:
    """Print a new key and its entry; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m kidney.serving.guards.keys", description=__doc__
    )
    parser.add_argument("name", help="whom the key is for")
    name = parser.parse_args(arguments).name
    key = new_key()
    try:
        kept = entry(name, key)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"Key, shown only now; give it to {name}:\n  {key}\n")
    print(f"Entry for KIDNEY_API_KEYS, a list separated by commas:\n  {kept}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
