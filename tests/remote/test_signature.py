"""What the owner of a key has signed passes, and nothing else."""

import base64
from pathlib import Path

import pytest

from kidney.errors import ArtifactError, ConfigError
from kidney.remote.signature import read_public_key, verify
from tests.helpers.api_keys import ED25519, P256, as_bundle, make_key, sign

KINDS = pytest.mark.parametrize("kind", [P256, ED25519])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "kidney.onnx"
    path.write_bytes(b"all of the bytes" * 1000)
    return path


@KINDS
@pytest.mark.parametrize("form", [bytes, base64.b64encode, base64.encodebytes, as_bundle])
def test_a_signature_verifies_in_each_form_that_is_written(file: Path, kind: str, form):
    private = file.with_name("key.pem")
    key = read_public_key(make_key(private, kind))
    verify(file, form(sign(file, private, kind)), key)


@KINDS
def test_other_bytes_are_refused(file: Path, kind: str):
    private = file.with_name("key.pem")
    key = read_public_key(make_key(private, kind))
    signature = sign(file, private, kind)
    file.write_bytes(file.read_bytes()[:-1] + b"S")
    with pytest.raises(ArtifactError, match="do not belong together") as refused:
        verify(file, signature, key)
    assert "publisher" in refused.value.remedy


@KINDS
def test_the_signature_of_another_key_is_refused(file: Path, kind: str):
    key = read_public_key(make_key(file.with_name("key.pem"), kind))
    for other in (P256, ED25519):
        make_key(file.with_name("other.pem"), other)
        with pytest.raises(ArtifactError):
            verify(file, sign(file, file.with_name("other.pem"), other), key)


@KINDS
@pytest.mark.parametrize(
    "signature", [b"", b"MEUC", b"<html>", b"{", b"{}", b"[]", b'{"messageSignature": 1}', b"\xff"]
)
def test_what_is_no_signature_is_refused(file: Path, kind: str, signature: bytes):
    key = read_public_key(make_key(file.with_name("key.pem"), kind))
    with pytest.raises(ArtifactError):
        verify(file, signature, key)


@pytest.mark.parametrize("kind", ["RSA", "x25519", "p384"])
def test_a_key_of_another_kind_is_refused(tmp_path: Path, kind: str):
    with pytest.raises(ConfigError, match="ECDSA P-256 or Ed25519") as refused:
        read_public_key(make_key(tmp_path / "key.pem", kind))
    assert "cosign generate-key-pair" in refused.value.remedy


def test_a_private_key_is_no_public_key(tmp_path: Path):
    make_key(tmp_path / "key.pem")
    for path in (tmp_path / "key.pem", tmp_path / "none.pub", tmp_path):
        with pytest.raises(ConfigError, match="Expected a public key in PEM"):
            read_public_key(path)
