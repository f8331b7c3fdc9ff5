"""Key pairs and signatures as their owners make them: by openssl, or by what cosign writes."""

import base64
import json
import subprocess
from pathlib import Path

P256, ED25519 = "p256", "ed25519"
_PARAMETERS = {
    P256: ["EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "p384": ["EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
}


def make_key(private: Path, kind: str = P256) -> Path:
    """Write a private key, and its public key beside it; return where that lies."""
    public = private.with_suffix(".pub")
    parameters = _PARAMETERS.get(kind, [kind])
    _openssl("genpkey", "-algorithm", *parameters, "-out", private)
    _openssl("pkey", "-in", private, "-pubout", "-out", public)
    return public


def sign(file: Path, private: Path, kind: str = P256) -> bytes:
    """Return the raw signature of a file."""
    if kind == ED25519:
        return _openssl("pkeyutl", "-sign", "-rawin", "-inkey", private, "-in", file)
    return _openssl("dgst", "-sha256", "-sign", private, file)


def as_bundle(signature: bytes) -> bytes:
    """Return the Sigstore bundle of a signature by a key, as cosign 3 writes it."""
    return json.dumps(
        {
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {"publicKey": {"hint": "aGludA=="}, "tlogEntries": []},
            "messageSignature": {
                "messageDigest": {"algorithm": "SHA2_256", "digest": "bm90IGxvb2tlZCBhdA=="},
                "signature": base64.b64encode(signature).decode(),
            },
        }
    ).encode()


def _openssl(*arguments: object) -> bytes:
    command = ["openssl", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True).stdout
