"""The registry: versions of the artifact with the evaluation they are judged by, and the champion.

A version is the folder `model` of a run of its own: the exact bytes of kidney.onnx as an MLflow
model, which `models:/NAME@champion` serves, and beside it its card, its quantised sibling, their
signatures and its evaluation. Two aliases say which versions count, `champion` and, for the way
back, `previous`.
"""

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import mlflow.onnx
import numpy as np
import onnx
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

from kidney.artifact.reader import read_artifact
from kidney.errors import ArtifactError
from kidney.files import sha256
from kidney.remote.http import without_secrets
from kidney.remote.mlflow_rest import FILES, Reference, Source, file_of
from kidney.tracking.runs import Tracking, end_run, start_run

EVALUATION = "evaluation"  # folder of a version
CHAMPION = "champion"
PREVIOUS = "previous"
WITHDRAWN = "withdrawn"
_MODEL = "model"
_NONE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # no such model; no such alias


@dataclass(frozen=True)
class Version:
    """One version of the registered model."""

    number: int
    run_id: str  # the run that holds its files
    tags: Mapping[str, str]  # what it is and how it was judged


def register(
    tracking: Tracking,
    name: str,
    artifact: Path,
    evaluation: Iterable[Path],
    tags: Mapping[str, str],
) -> Version:
    """Make the artifact a version of the model `name`, without an alias.

    What was registered with the same tags before is that version, so a promotion that was cut off
    starts again without leaving a second one; a signature that was made since is added to it.

    Args:
        name: of the registered model; it is made where there is none.
        artifact: kidney.onnx. Where there are, kidney.int8.onnx and the signatures kidney.onnx.sig
            and kidney.int8.onnx.sig beside it come along.
        tags: what identifies artifact and evaluation, `sha256` among them.

    Raises:
        ArtifactError: the store refuses, or the quantised file is that of another model.
    """
    quantised = quantised_beside(artifact)
    if quantised:
        tags = {**tags, FILES["int8"].sha256_tag: sha256(quantised)}
    client = tracking.client()
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise ArtifactError(
                f"Expected to register a model {name!r} in {tracking.shown}, but: {error}.",
                "Give another registry.name, or run the command again when the store answers.",
            ) from error
    for known in client.search_model_versions(f"tags.sha256 = '{tags['sha256']}'"):
        if known.name == name and tags.items() <= known.tags.items():
            version = _version(known)
            with tempfile.TemporaryDirectory() as temporary:
                if copy_signatures(Path(temporary), artifact, quantised):
                    client.log_artifacts(version.run_id, temporary, _MODEL)
            return version
    run_id = start_run(tracking, f"{name}-{tags['sha256'][:10]}", {**tags, "kind": "version"})
    try:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary, _MODEL)
            write_version(folder, artifact, quantised, evaluation)
            client.log_artifacts(run_id, str(folder), _MODEL)
    except BaseException:
        end_run(tracking, run_id, "FAILED")
        raise
    end_run(tracking, run_id)
    # With a run given, MLflow looks nothing up in the store of its global settings.
    source = f"{client.get_run(run_id).info.artifact_uri}/{_MODEL}"
    return _version(client.create_model_version(name, source, run_id, dict(tags)))


def find_source(uri: str, reference: Reference, precision: str = "float32") -> Source:
    """Look up where a file of a version lies, in a store that MLflow itself reads.

    Args:
        uri: of the store, for example sqlite:///mlflow.db.

    Raises:
        ArtifactError: there is no such version or file.
    """
    _see_that_there_is(uri)
    client = Tracking(uri, "").client()
    try:
        found = (
            client.get_model_version(reference.name, reference.number)
            if reference.number
            else client.get_model_version_by_alias(reference.name, reference.which)
        )
    except MlflowException as error:
        raise ArtifactError(
            f"Expected to find {reference} in {without_secrets(uri)}, but: {error}.",
            "Name another store with --tracking or MLFLOW_TRACKING_URI; scripts/promote.py makes "
            "a champion.",
        ) from error
    file = file_of(reference, found.tags, precision)
    folder = client.get_model_version_download_uri(found.name, found.version)
    if folder.startswith("file:"):
        folder = url2pathname(urlsplit(folder).path)
    return Source(
        f"{folder}/{file.path}", f"{folder}/{file.signature}", found.tags.get(file.sha256_tag), {}
    )


def _see_that_there_is(uri: str) -> None:
    """Refuse a local store that does not exist: to ask MLflow for it would make an empty one."""
    file = Path(uri.removeprefix("sqlite:///"))
    if uri.startswith("sqlite:///") and not file.is_file():
        raise ArtifactError(
            f"Expected an MLflow store at {file}, but there is no such file.",
            "Give the address of an MLflow server or another store: --tracking or "
            "MLFLOW_TRACKING_URI.",
        )


def champion(tracking: Tracking, name: str) -> Version | None:
    """Return the version that the alias `champion` names; None where there is none."""
    return _named(tracking.client(), name, CHAMPION)


def download_evaluation(tracking: Tracking, version: Version, folder: Path) -> Path:
    """Fetch the files that a version was judged by into `folder`; return where they lie there.

    Raises:
        ArtifactError: they are gone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        path = f"{_MODEL}/{EVALUATION}"
        return Path(tracking.client().download_artifacts(version.run_id, path, str(folder)))
    except (MlflowException, OSError) as error:
        raise ArtifactError(
            f"Version {version.number} has no evaluation in {tracking.shown} any more: {error}.",
            "Bring its run's files back, or take its alias away if nothing is to be compared with "
            "it any more.",
        ) from error


def record_verdict(
    tracking: Tracking, name: str, version: Version, tags: Mapping[str, str]
) -> None:
    """Write on a version how it was judged."""
    for key, value in tags.items():
        tracking.client().set_model_version_tag(name, str(version.number), key, value)


def withdrawn(tracking: Tracking, name: str, version: Version) -> str | None:
    """Return when the artifact of a version was rolled back, with whichever evaluation."""
    found = tracking.client().search_model_versions(f"tags.sha256 = '{version.tags['sha256']}'")
    times = [known.tags.get(WITHDRAWN) for known in found if known.name == name]
    return max((time for time in times if time), default=None)


def set_champion(
    tracking: Tracking, name: str, version: Version, instead_of: Version | None
) -> None:
    """Make a version the champion, and the champion that it was judged against the previous one.

    The alias moves in one step and last: whoever is interrupted before leaves the old champion,
    only the way back is then as short as if it had never been another.

    Raises:
        ArtifactError: the champion is another one by now.
    """
    client = tracking.client()
    now = _named(client, name, CHAMPION)
    if (now and now.number) != (instead_of and instead_of.number):
        raise ArtifactError(
            f"Expected {_called(instead_of)} as champion, with which version {version.number} was "
            f"compared, but by now it is {_called(now)}.",
            "Run the command again: it compares with the new champion.",
        )
    if instead_of:
        client.set_registered_model_alias(name, PREVIOUS, str(instead_of.number))
    client.set_registered_model_alias(name, CHAMPION, str(version.number))


def roll_back(tracking: Tracking, name: str) -> tuple[Version, Version]:
    """Make the previous champion the champion again.

    The one that leaves is tagged as withdrawn first, so that it is not promoted once more.

    Returns:
        The version that is champion now, and the one that was.

    Raises:
        ArtifactError: there is no previous champion.
    """
    client = tracking.client()
    now, before = (_named(client, name, alias) for alias in (CHAMPION, PREVIOUS))
    if now is None or before is None or now.number == before.number:
        raise ArtifactError(
            f"Expected a champion of {name!r} and a previous one to go back to, but the champion "
            f"is {_called(now)} and the previous one {_called(before)}.",
            "Set the alias by hand: mlflow ui shows the versions and how they were judged.",
        )
    record_verdict(
        tracking, name, now, {WITHDRAWN: datetime.now(UTC).isoformat(timespec="seconds")}
    )
    client.set_registered_model_alias(name, CHAMPION, str(before.number))
    return before, now


def _named(client: MlflowClient, name: str, alias: str) -> Version | None:
    try:
        return _version(client.get_model_version_by_alias(name, alias))
    except MlflowException as error:
        if error.error_code in _NONE:
            return None
        raise ArtifactError(
            f"Expected to find the {alias} of {name!r}, but: {error}.",
            "Run the command again when the tracking store answers.",
        ) from error


def _version(found: ModelVersion) -> Version:
    return Version(int(found.version), str(found.run_id), dict(found.tags))


def _called(version: Version | None) -> str:
    return f"version {version.number}" if version else "none"


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
