"""kidney.onnx as bytes: read once, and checked before a runtime opens it."""

import hashlib
import sys
from pathlib import Path

from kidney.artifact.card import ModelCard, from_metadata
from kidney.artifact.integrity import check_seal, check_self_contained, is_sealed, metadata
from kidney.errors import ArtifactError

_MADE = Path("artifacts/kidney.onnx")
_SHIPPED = (
    Path(__file__).parents[2] / "models/kidney.onnx",  # of a checkout
    Path(sys.prefix) / "share/kidney/kidney.onnx",  # of an installed wheel
)


def default_model() -> Path:
    """Return the model where none is named: the one made here, else the one in the box.

    The first is artifacts/kidney.onnx below the working folder, where export.py writes it.
    """
    shipped = (path for path in _SHIPPED if path.is_file())
    return _MADE if _MADE.is_file() else next(shipped, _MADE)


def read_artifact(path: Path, sha256: str | None = None) -> tuple[bytes, ModelCard]:
    """Read a kidney.onnx and its card; check that it is whole, ours and self-contained.

    Args:
        path: the file that export.py wrote.
        sha256: the SHA-256 that the file must have; None: any.

    Returns:
        The very bytes that were checked, and the card.

    Raises:
        ArtifactError: the file is missing, is not the one of `sha256`, is damaged, has no card, an
            invalid one or one of another schema, uses custom operators, or keeps weights elsewhere.
    """
    if not path.is_file():
        raise ArtifactError(
            f"Expected a model at {path}, but there is no such file.",
            "Write one with export.py, or name another file with --model or KIDNEY_MODEL.",
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ArtifactError(
            f"Expected to read the model {path}, but: {error}.", "Give this user the right to."
        ) from error
    found = hashlib.sha256(data).hexdigest()
    if sha256 not in (None, found):
        raise ArtifactError(
            f"Expected the model of SHA-256 {sha256}, but {path} has {found}.",
            "Fetch the file again, or correct KIDNEY_MODEL_SHA256: sha256sum FILE says it.",
        )
    try:
        return data, _checked(data)
    except ArtifactError as error:
        raise ArtifactError(f"{path} (sha256sum {found}): {error.problem}", error.remedy) from error


def _checked(data: bytes) -> ModelCard:
    # Damage comes first where it can be seen: it could look like anything else.
    sealed = is_sealed(data)
    if sealed:
        check_seal(data)
    card = from_metadata(metadata(data))
    if not sealed:
        check_seal(data)  # after the card: its message is clearer for a foreign or old file
    check_self_contained(data)
    return card
