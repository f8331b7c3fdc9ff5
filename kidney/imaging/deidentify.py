"""Patient and study ids to pseudonyms: a keyed hash, the same id under the same key.

A plain hash would not do: patient ids are short numbers, so anyone could hash them all and look
one up. The key prevents that.
"""

import hmac
import os
import secrets
from pathlib import Path

from kidney.errors import ConfigError
from kidney.files import whole_file

SALT = "KIDNEY_SALT"
_SHORTEST = 16  # characters: fewer can be guessed


def pseudonym(key: bytes, identity: str) -> str:
    """Return 12 hexadecimal digits for an id (HMAC-SHA256); "" for an empty one."""
    # Names of folders and texts of DICOM can hold bytes that are no text in any encoding.
    data = identity.strip().encode("utf-8", "backslashreplace")
    return hmac.digest(key, data, "sha256").hex()[:12] if data else ""


def read_key(folder: Path | None) -> bytes:
    """Return the key: from KIDNEY_SALT, or of the file `salt` in the folder, made where missing.

    Args:
        folder: None: only the variable counts.

    Raises:
        ConfigError: it is missing, or too short.
    """
    text, where = os.environ.get(SALT, "").strip(), SALT
    if not text and folder is not None:
        path = folder / "salt"
        if not path.exists():
            with whole_file(path) as temporary:
                temporary.touch(mode=0o600, exist_ok=False)  # nobody else's from the first byte on
                temporary.write_text(secrets.token_hex(32) + "\n", encoding="ascii")
        text, where = path.read_text(encoding="ascii").strip(), str(path)
    if len(text) < _SHORTEST:
        raise ConfigError(
            f"Expected {where} to have at least {_SHORTEST} characters, got {len(text)}: with a "
            "short salt, patients could be identified from their hashes.",
            "Give the salt that was used before, or a new one (openssl rand -hex 32); with a new "
            "one, all scans and patients get new names.",
        )
    return text.encode()
