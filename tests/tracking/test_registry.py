import hashlib
import json
from itertools import count
from pathlib import Path

import mlflow.onnx
import mlflow.pyfunc
import numpy as np
import pytest
from mlflow.exceptions import MlflowException

from kidney.errors import ArtifactError, KidneyError
from kidney.files import sha256
from kidney.remote.mlflow_rest import Reference
from kidney.tracking.registry import (
    WITHDRAWN,
    Version,
    champion,
    download_evaluation,
    find_source,
    record_verdict,
    register,
    roll_back,
    set_champion,
    withdrawn,
)
from kidney.tracking.runs import Tracking
from tests.helpers.tiny_model import CARD, write_int8_beside, write_tiny_model

_numbers = count()


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Tracking:
    """Making a store takes seconds, so the tests of this file share one."""
    return Tracking(f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db", "kidney")


@pytest.fixture
def name() -> str:
    """A registered model of the test's own."""
    return f"kidney-{next(_numbers)}"


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "kidney.onnx")


def add(tracking: Tracking, name: str, artifact: Path, evaluation: str = "first") -> Version:
    file = artifact.with_name("predictions.csv")
    file.write_text(evaluation)
    tags = {"sha256": sha256(artifact), "evaluation": evaluation, "run": "tiny-run"}
    return register(tracking, name, artifact, [file], tags)


def test_a_version_holds_the_bytes_of_the_artifact_and_what_it_is_judged_by(
    tracking: Tracking, name: str, artifact: Path, tmp_path: Path
):
    version = add(tracking, name, artifact)
    assert version.number == 1
    assert version.tags["run"] == "tiny-run"
    files = download_evaluation(tracking, version, tmp_path / "evaluation")
    assert [(file.name, file.read_text()) for file in files.iterdir()] == [
        ("predictions.csv", "first")
    ]
    client = tracking.client()
    stored = Path(client.download_artifacts(version.run_id, "model/model.onnx", str(tmp_path)))
    assert hashlib.sha256(stored.read_bytes()).hexdigest() == version.tags["sha256"]
    assert client.get_run(version.run_id).info.status == "FINISHED"


def test_mlflow_serves_a_version_as_its_own_model(
    tracking: Tracking, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    artifact = write_tiny_model(tmp_path / "kidney.onnx", ood_score=True)
    set_champion(tracking, name, add(tracking, name, artifact), instead_of=None)
    model_uri = f"models:/{name}@champion"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking.uri)
    mlflow.set_tracking_uri(None)  # a logger of Lightning may have set another one
    assert mlflow.onnx.load_model(model_uri).graph.name == "tiny"
    model = mlflow.pyfunc.load_model(model_uri)
    batch = np.zeros((2, 1, 16, 20), dtype=np.uint8)
    for slices in (batch, {"slices": batch}):
        answer = model.predict(slices)
        assert answer["probabilities"].argmax(axis=1).tolist() == [0, 0]  # black is normal
    with pytest.raises(MlflowException, match="Failed to enforce schema"):
        model.predict(batch.astype(np.float32))


def test_a_version_says_what_goes_in_and_out_and_carries_its_card(
    tracking: Tracking, name: str, tmp_path: Path
):
    artifact = write_tiny_model(tmp_path / "kidney.onnx", ood_score=True)
    version = add(tracking, name, artifact)
    folder = Path(tracking.client().download_artifacts(version.run_id, "model", str(tmp_path)))
    signature = mlflow.models.get_model_info(str(folder)).signature
    tensors = [
        (tensor.name, tensor.type.name, tensor.shape)
        for tensor in (*signature.inputs.inputs, *signature.outputs.inputs)
    ]
    assert tensors == [
        ("slices", "uint8", (-1, 1, -1, -1)),
        ("probabilities", "float32", (-1, 4)),
        ("logits", "float32", (-1, 4)),
        ("evidence", "float32", (-1, 4, 8, 8)),
        ("ood_score", "float32", (-1,)),
    ]
    card = json.loads((folder / "card.json").read_text())
    assert (card["run"], card["classes"]) == (CARD.run, list(CARD.classes))
    assert not (folder / "int8").exists()


def test_the_quantised_file_comes_along(tracking: Tracking, name: str, artifact: Path):
    quantised = write_int8_beside(artifact)
    version = add(tracking, name, artifact)
    assert version.tags["int8_sha256"] == sha256(quantised)
    for precision, file in (("float32", artifact), ("int8", quantised)):
        source = find_source(tracking.uri, Reference(name, "1"), precision)
        assert Path(source.address).read_bytes() == file.read_bytes()
        assert source.sha256 == sha256(file)
    assert add(tracking, name, artifact).number == version.number


def test_a_quantised_file_of_another_model_is_refused(
    tracking: Tracking, name: str, artifact: Path
):
    other = write_tiny_model(artifact.with_name("other.onnx"), ood_score=True)
    write_int8_beside(other)
    with pytest.raises(ArtifactError, match=f"made from kidney.onnx.*{sha256(other)}") as refused:
        add(tracking, name, artifact)
    assert "remove it" in refused.value.remedy


def test_a_signature_comes_along_even_if_it_was_made_later(
    tracking: Tracking, name: str, artifact: Path
):
    write_int8_beside(artifact)
    for text in ("first", "second"):
        artifact.with_name("kidney.int8.onnx.sig").write_text(text)
        assert add(tracking, name, artifact).number == 1
        source = find_source(tracking.uri, Reference(name, "1"), "int8")
        assert Path(source.signature).read_text() == text
        unsigned = find_source(tracking.uri, Reference(name, "1"))
        assert not Path(unsigned.signature).exists()


@pytest.mark.parametrize(
    ("which", "precision"),
    [("champion", "float32"), ("7", "float32"), ("1", "int8"), ("1", "int4")],
)
def test_a_version_or_file_that_is_not_there_is_told(
    tracking: Tracking, name: str, artifact: Path, which: str, precision: str
):
    add(tracking, name, artifact)
    with pytest.raises(KidneyError) as refused:
        find_source(tracking.uri, Reference(name, which), precision)
    assert (precision if precision == "int4" else f"{name}@{which}") in refused.value.problem


def test_a_store_that_is_not_there_is_told_and_not_made(tmp_path: Path):
    with pytest.raises(ArtifactError, match="Expected an MLflow store"):
        find_source(f"sqlite:///{tmp_path}/new/mlflow.db", Reference("kidney", "champion"))
    assert list(tmp_path.iterdir()) == []


def test_what_was_registered_before_is_not_registered_twice(
    tracking: Tracking, name: str, artifact: Path
):
    first = add(tracking, name, artifact)
    record_verdict(tracking, name, first, {"verdict": "keep the champion"})
    again = add(tracking, name, artifact)
    assert again.number == first.number
    assert again.tags["verdict"] == "keep the champion"
    assert add(tracking, name, artifact, "another evaluation").number == 2
    assert add(tracking, f"{name}-of-others", artifact).number == 1


def test_a_version_is_no_champion_until_it_is_set(tracking: Tracking, name: str, artifact: Path):
    assert champion(tracking, name) is None
    first = add(tracking, name, artifact)
    assert champion(tracking, name) is None
    set_champion(tracking, name, first, instead_of=None)
    found = champion(tracking, name)
    assert found is not None
    assert (found.number, found.run_id) == (1, first.run_id)


def test_a_champion_that_changed_meanwhile_is_not_overruled(
    tracking: Tracking, name: str, artifact: Path
):
    first, second, third = (add(tracking, name, artifact, text) for text in "abc")
    set_champion(tracking, name, first, instead_of=None)
    with pytest.raises(ArtifactError, match="Expected none as champion") as refused:
        set_champion(tracking, name, second, instead_of=None)
    assert "again" in refused.value.remedy
    set_champion(tracking, name, second, instead_of=first)
    with pytest.raises(ArtifactError, match="by now it is version 2"):
        set_champion(tracking, name, third, instead_of=first)
    assert champion(tracking, name).number == 2


def test_the_way_back_leads_to_the_previous_champion_once(
    tracking: Tracking, name: str, artifact: Path
):
    first, second = (add(tracking, name, artifact, text) for text in "ab")
    set_champion(tracking, name, first, instead_of=None)
    with pytest.raises(ArtifactError, match="the previous one none"):
        roll_back(tracking, name)
    set_champion(tracking, name, second, instead_of=first)
    now, before = roll_back(tracking, name)
    assert (now.number, before.number) == (1, 2)
    assert champion(tracking, name).number == 1
    assert WITHDRAWN in add(tracking, name, artifact, "b").tags
    assert WITHDRAWN not in champion(tracking, name).tags
    assert withdrawn(tracking, name, add(tracking, name, artifact, "evaluated anew"))
    other = write_tiny_model(artifact.with_name("other.onnx"), ood_score=True)
    assert withdrawn(tracking, name, add(tracking, name, other)) is None
    with pytest.raises(ArtifactError, match="version 1 and the previous one version 1"):
        roll_back(tracking, name)


def test_whoever_is_cut_off_while_setting_leaves_the_old_champion(
    tracking: Tracking, name: str, artifact: Path, monkeypatch: pytest.MonkeyPatch
):
    first, second = (add(tracking, name, artifact, text) for text in "ab")
    set_champion(tracking, name, first, instead_of=None)
    calls = []

    def killed(self, model: str, alias: str, version: str):
        calls.append(alias)
        if alias == "champion":
            raise KeyboardInterrupt
        return moves(self, model, alias, version)

    client = type(tracking.client())
    moves = client.set_registered_model_alias
    monkeypatch.setattr(client, "set_registered_model_alias", killed)
    with pytest.raises(KeyboardInterrupt):
        set_champion(tracking, name, second, instead_of=first)
    monkeypatch.undo()
    assert calls == ["previous", "champion"]
    assert champion(tracking, name).number == 1
    set_champion(tracking, name, second, instead_of=first)
    assert roll_back(tracking, name)[0].number == 1


def test_an_upload_that_was_cut_off_leaves_no_version(
    tracking: Tracking, name: str, artifact: Path, monkeypatch: pytest.MonkeyPatch
):
    client = type(tracking.client())

    def killed(*_: object):
        raise KeyboardInterrupt

    monkeypatch.setattr(client, "log_artifacts", killed)
    with pytest.raises(KeyboardInterrupt):
        add(tracking, name, artifact)
    monkeypatch.undo()
    assert add(tracking, name, artifact).number == 1


def test_an_evaluation_that_is_gone_is_told(tracking: Tracking, tmp_path: Path):
    with pytest.raises(ArtifactError, match="Version 7 has no evaluation"):
        download_evaluation(tracking, Version(7, "f" * 32, {}), tmp_path / "evaluation")


def test_a_name_that_mlflow_refuses_is_told(tracking: Tracking, artifact: Path):
    with pytest.raises(ArtifactError, match="cannot contain '/'") as refused:
        add(tracking, "kidney/one", artifact)
    assert "registry.name" in refused.value.remedy


def test_a_store_that_does_not_answer_is_not_taken_for_one_without_a_champion(
    monkeypatch: pytest.MonkeyPatch,
):
    # Else anything above chance would replace the champion.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ArtifactError, match=r"champion of 'kidney', but"):
        champion(Tracking("http://127.0.0.1:9", "kidney"), "kidney")
