"""The files of a version, as MLflow keeps them: a model of its own, and what belongs to it."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import mlflow.onnx
import numpy as np
import onnx
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

from kidney.card import METADATA_KEY, from_metadata
from kidney.errors import ArtifactError
from kidney.versions import FILES

EVALUATION = "evaluation"


def write_version(
    folder: Path, artifact: Path, quantised: Path | None, evaluation: Iterable[Path]
) -> None:
    """Write the folder of a version: an MLflow model with card, sibling, signatures and evaluation.

    Args:
        folder: where; it must not exist.
        artifact: kidney.onnx.
        quantised: from `quantised_beside`.
        evaluation: the files that it is judged by.
    """
    model = onnx.load(artifact)
    mlflow.onnx.save_model(
        model,
        folder,
        signature=_signature(model.graph),
        # Named, since MLflow would load the model in another process to find them out.
        pip_requirements=mlflow.onnx.get_default_pip_requirements(),
        save_as_external_data=False,
    )
    shutil.copyfile(artifact, folder / FILES["fp32"].path)  # to the byte: its hash is a tag
    card = json.loads(_metadata(artifact)[METADATA_KEY])
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


def _metadata(file: Path) -> dict[str, str]:
    found = {entry.key: entry.value for entry in onnx.load(file).metadata_props}
    from_metadata(found)  # refuses what has no card
    return found


def quantised_beside(artifact: Path) -> Path | None:
    """Return the quantised file beside the artifact; None where there is none.

    Raises:
        ArtifactError: it is that of another model.
    """
    file = artifact.with_suffix(".int8.onnx")
    if not file.is_file():
        return None
    whole, small = from_metadata(_metadata(artifact)), from_metadata(_metadata(file))
    if (whole.run, whole.code, whole.classes) != (small.run, small.code, small.classes):
        raise ArtifactError(
            f"Expected {file} to be the quantised {artifact.name}, but it is of run {small.run} "
            f"at {small.code}, not of run {whole.run} at {whole.code}.",
            "Export again, or remove it: it would be taken for a part of this version.",
        )
    return file


def copy_signatures(folder: Path, artifact: Path, quantised: Path | None) -> bool:
    """Copy the signatures beside the files to where they lie in a version; False: none is there."""
    copied = False
    for file, there in ((artifact, FILES["fp32"]), (quantised, FILES["int8"])):
        signature = file and file.with_name(f"{file.name}.sig")
        if signature and signature.is_file():
            (folder / there.signature).parent.mkdir(exist_ok=True)
            shutil.copyfile(signature, folder / there.signature)
            copied = True
    return copied
