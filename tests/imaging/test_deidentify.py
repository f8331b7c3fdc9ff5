"""Ids of a hospital under a key; that the reader of DICOM series uses it is tested there."""

from pathlib import Path

import pytest

from kidney.errors import ConfigError
from kidney.imaging.deidentify import SALT, pseudonym, read_key


def test_a_pseudonym_is_the_hmac_of_the_id() -> None:
    # RFC 4231, test case 2.
    assert pseudonym(b"Jefe", "what do ya want for nothing?") == "5bdcc146bf60"
    assert pseudonym(b"Jefe", "") == pseudonym(b"Jefe", "  ") == ""
    assert pseudonym(b"Jefe", "17 ") == pseudonym(b"Jefe", "17")  # DICOM pads to an even length


def test_the_key_is_made_once_and_the_variable_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SALT, raising=False)
    made = read_key(tmp_path)
    assert len(made) == 64
    assert read_key(tmp_path) == made
    assert (tmp_path / "salt").stat().st_mode & 0o077 == 0
    monkeypatch.setenv(SALT, "0123456789abcdef")
    assert read_key(tmp_path) == b"0123456789abcdef"


def test_without_a_folder_there_has_to_be_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SALT, raising=False)
    with pytest.raises(ConfigError, match="KIDNEY_SALT to have at least 16 characters, got 0"):
        read_key(None)
