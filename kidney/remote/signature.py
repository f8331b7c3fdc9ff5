"""Signatures of files, verified by a public key: what cosign and openssl write.

A key is a PEM file, of ECDSA on the curve P-256 (`cosign generate-key-pair`) or of Ed25519
(`openssl genpkey -algorithm ed25519`). The signature of a file is of its bytes:

    cosign sign-blob --key cosign.key --bundle kidney.onnx.sig kidney.onnx         # cosign 3
    cosign sign-blob --key cosign.key --output-signature kidney.onnx.sig kidney.onnx   # before
    openssl dgst -sha256 -sign p256.pem -out kidney.onnx.sig kidney.onnx
    openssl pkeyutl -sign -rawin -inkey ed25519.pem -in kidney.onnx -out kidney.onnx.sig

So it comes as a Sigstore bundle (https://docs.sigstore.dev/about/bundle), as base64 or raw. Of a
bundle the signature alone is used: trust is in the key that was given, not in certificates or logs.
"""

import base64
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from kidney.errors import ArtifactError, ConfigError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    PublicKey = EllipticCurvePublicKey | Ed25519PublicKey


def read_public_key(path: Path) -> "PublicKey":
    """Read a public key of ECDSA P-256 or Ed25519.

    Raises:
        ConfigError: there is none, it is of another kind, or cryptography is not installed.
    """
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError as error:
        raise ConfigError(
            "Expected cryptography to be installed to verify signatures, but it is not.",
            "pip install 'kidney-tumor-identification[verify]'.",
        ) from error
    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            f"Expected a public key in PEM at {path}, but: {error}.",
            "Give the file cosign.pub, or what `openssl pkey -in KEY -pubout` prints.",
        ) from error
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise ConfigError(
        f"Expected a public key of ECDSA P-256 or Ed25519 at {path}, but it is of another kind.",
        "Make one with `cosign generate-key-pair` or `openssl genpkey -algorithm ed25519`.",
    )


def verify(file: Path, signature: bytes, key: "PublicKey") -> None:
    """See that the owner of the key has signed the bytes of the file.

    Args:
        file: what was signed.
        signature: the content of its .sig: a Sigstore bundle, base64 or raw bytes.
        key: from `read_public_key`.

    Raises:
        ArtifactError: the signature is of other bytes, by another key, or none at all.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        raw = _raw(signature)
        if isinstance(key, ec.EllipticCurvePublicKey):
            with file.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").digest()
            key.verify(raw, digest, ec.ECDSA(Prehashed(SHA256())))
        else:
            key.verify(raw, file.read_bytes())
    except (InvalidSignature, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            "Its signature does not verify by the public key: file, signature and key do not "
            "belong together.",
            "Fetch it again; if it stays so, ask its publisher before you trust the file.",
        ) from error


def _raw(signature: bytes) -> bytes:
    if signature.lstrip().startswith(b"{"):
        return base64.b64decode(json.loads(signature)["messageSignature"]["signature"])
    try:
        return base64.b64decode(b"".join(signature.split()), validate=True)
    except ValueError:
        return signature  # as openssl writes it
