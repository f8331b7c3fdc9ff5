"""The files of a version, as MLflow keeps them: a model of its own, and what belongs to it."""

import dataclasses
import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import mlflow.onnx
import numpy as np
import onnx
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

from kidney.artifact.reader import read_artifact
from kidney.errors import ArtifactError
from kidney.files import sha256
from kidney.remote.mlflow_rest import FILES

EVALUATION = "evaluation"


def write_version(
    folder: Path, artifact: Path, quantised: Path | None, evaluation: Iterable[Path]
) -> None:
    """Write a version's folder: an MLflow model with card, sibling, signatures and evaluation."""
    model = onnx.load(artifact)
    mlflow.onnx.save_model(
        model,
        folder,
        signature=_signature(model.graph),
        # Named, since MLflow would load the model in another process to find them out.
        pip_requirements=mlflow.onnx.get_default_pip_requirements(),
        save_as_external_data=False,
    )
    shutil.copyfile(artifact, folder / FILES["float32"].path)  # to the byte: its hash is a tag
    card = dataclasses.asdict(read_artifact(artifact)[1])
    (folder / "card.json").write_text(json.dumps(card, indent=2), encoding="utf-8")
    if quantised:
        (folder / FILES["int8"].path).parent.mkdir()
        shutil.copyfile(quantised, folder / FILES["int8"].path)
    copy_signatures(folder, artifact, quantised)
    (folder / EVALUATION).mkdir()
    for file in evaluation:
        shutil.copy(file, folder / EVALUATION)


def _signature(graph: onnx.GraphProto) -> ModelSignature:
    """Say what the graph takes and gives, with -1 for each side that is free."""

    def tensor(value: onnx.ValueInfoProto) -> TensorSpec:
        kind = value.type.tensor_type
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
        return TensorSpec(dtype, [side.dim_value or -1 for side in kind.shape.dim], value.name)

    return ModelSignature(
        Schema([tensor(value) for value in graph.input]),
        Schema([tensor(value) for value in graph.output]),
    )


def quantised_beside(artifact: Path) -> Path | None:
    """Return the quantised file beside the artifact; None where there is none.

    Raises:
        ArtifactError: it is that of another model.
    """
    file = artifact.with_suffix(".int8.onnx")
    if not file.is_file():
        return None
    made_from, whole = read_artifact(file)[1].made_from, sha256(artifact)
    if made_from != whole:
        raise ArtifactError(
            f"Expected {file} to be made from {artifact.name} of SHA-256 {whole}, but its card "
            f"says {made_from}.",
            "Export again, or remove it: it would be taken for a part of this version.",
        )
    return file


def copy_signatures(folder: Path, artifact: Path, quantised: Path | None) -> bool:
    """Copy the signatures beside the files to where they lie in a version; False: none is there."""
    copied = False
    for file, there in ((artifact, FILES["float32"]), (quantised, FILES["int8"])):
        signature = file and file.with_name(f"{file.name}.sig")
        if signature and signature.is_file():
            (folder / there.signature).parent.mkdir(exist_ok=True)
            shutil.copyfile(signature, folder / there.signature)
            copied = True
    return copied
