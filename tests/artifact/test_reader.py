"""Only a whole kidney.onnx of ours is read; what is refused never reaches a runtime."""

import dataclasses
import json
from pathlib import Path

import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from kidney.artifact.card import METADATA_KEY, to_metadata
from kidney.artifact.integrity import SEAL_KEY, check_seal, is_sealed, seal
from kidney.artifact.predictor import Predictor
from kidney.artifact.reader import default_model, read_artifact
from kidney.errors import ArtifactError
from kidney.files import sha256
from tests.helpers.tiny_model import CARD, save_sealed, tiny_model, write_tiny_model


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "kidney.onnx")


@pytest.fixture
def runtime_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the test fail where onnxruntime is asked to open anything."""

    def opened(*_: object, **__: object) -> None:
        pytest.fail("onnxruntime was asked to open the file")

    monkeypatch.setattr(onnxruntime, "InferenceSession", opened)


def refusal(path: Path, wanted: str | None = None) -> ArtifactError:
    with pytest.raises(ArtifactError) as error:
        read_artifact(path, wanted)
    return error.value


def test_a_whole_file_is_read_once_with_its_card(path: Path):
    data, card = read_artifact(path)
    assert data == path.read_bytes()
    assert card == CARD
    entries = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert check_seal(data) == entries[SEAL_KEY]


def test_a_changed_byte_anywhere_is_refused_and_names_a_hash(path: Path):
    whole = path.read_bytes()
    mark = whole.index(SEAL_KEY.encode())
    for position in {*range(0, len(whole), 5), *range(mark - 6, mark + 90)} & {*range(len(whole))}:
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        assert sha256(path) in str(refusal(path)), position


def test_the_digest_of_other_bytes_is_named_beside_the_true_one(path: Path):
    carried = check_seal(path.read_bytes())
    damaged = bytearray(path.read_bytes())
    damaged[200] ^= 1
    path.write_bytes(damaged)
    found = seal(path)
    path.write_bytes(damaged)
    said = str(refusal(path))
    assert carried in said
    assert found in said
    assert "Copy the file again" in said


def test_a_digest_in_capitals_is_no_digest(path: Path):
    data = path.read_bytes()
    digest = check_seal(data).encode()
    path.write_bytes(data.replace(digest, digest.upper()))
    refusal(path)


def test_a_file_that_was_changed_on_purpose_can_be_sealed_again(path: Path):
    before = seal(path)
    model = onnx.load(path)
    model.producer_name = "another"
    onnx.save(model, path)
    refusal(path)
    assert seal(path) != before
    read_artifact(path)


@pytest.mark.parametrize("count", [0, 2])
def test_a_file_without_one_place_for_its_digest_cannot_be_sealed(tmp_path: Path, count: int):
    path = tmp_path / "kidney.onnx"
    model = tiny_model()
    for _ in range(count):
        model.metadata_props.add(key=SEAL_KEY, value="0" * 64)
    onnx.save(model, path)
    before = path.read_bytes()
    with pytest.raises(ArtifactError, match=SEAL_KEY):
        seal(path)
    assert path.read_bytes() == before
    assert is_sealed(before) == (count > 0)


def test_a_cut_off_seal_is_refused(path: Path):
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(SEAL_KEY.encode()) + 40])
    assert sha256(path) in str(refusal(path))


@pytest.mark.usefixtures("runtime_off")
class TestBeforeAnyRuntime:
    def test_the_file_of_another_project_is_refused_by_the_card(self, tmp_path: Path):
        path = write_tiny_model(tmp_path / "theirs.onnx", card=None)
        for said in (str(refusal(path)), opening(path)):
            assert f"model card under {METADATA_KEY!r}" in said
            assert "other ONNX files are not served" in said
            assert sha256(path) in said

    def test_the_file_of_an_earlier_version_is_told_its_schema(self, tmp_path: Path):
        old = {**json.loads(to_metadata(CARD)[METADATA_KEY]), "schema": 3}
        path = with_metadata(tmp_path, {METADATA_KEY: json.dumps(old)})
        assert "schema 5, but got 3" in opening(path)

    def test_a_file_with_a_card_and_no_digest_is_refused(self, tmp_path: Path):
        path = with_metadata(tmp_path, {METADATA_KEY: to_metadata(CARD)[METADATA_KEY]})
        said = opening(path)
        assert SEAL_KEY in said
        assert "Export" in said or "export it again" in said

    def test_damage(self, path: Path):
        damaged = bytearray(path.read_bytes())
        damaged[300] ^= 8
        path.write_bytes(damaged)
        assert sha256(path) in opening(path)

    def test_weights_elsewhere(self, tmp_path: Path):
        model = tiny_model()
        tensor = TensorProto(name="weights", data_type=TensorProto.FLOAT, dims=[4, 1, 1, 1])
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="../../etc/passwd")
        model.graph.initializer[2].CopyFrom(tensor)
        assert "external data" in opening(save_sealed(model, tmp_path / "kidney.onnx"))

    def test_operators_of_their_own(self, tmp_path: Path):
        model = tiny_model()
        model.graph.node[0].domain = "their.own"
        model.opset_import.append(helper.make_opsetid("their.own", 1))
        assert "'their.own'" in opening(save_sealed(model, tmp_path / "kidney.onnx"))

    def test_another_file_than_the_one_that_was_asked_for(self, path: Path):
        with pytest.raises(ArtifactError) as error:
            Predictor(path, sha256="0" * 64)
        assert "0" * 64 in str(error.value)
        assert sha256(path) in str(error.value)


def test_the_file_that_was_asked_for_is_opened(path: Path):
    assert Predictor(path, threads=1, sha256=sha256(path)).card == CARD


def test_a_missing_file_is_said(tmp_path: Path):
    assert "no such file" in str(refusal(tmp_path / "kidney.onnx"))


def test_a_file_that_cannot_be_read_is_said(path: Path, monkeypatch: pytest.MonkeyPatch):
    def denied(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", denied)
    assert "Permission denied" in str(refusal(path))


def test_a_card_of_other_precision_goes_the_same_way(tmp_path: Path):
    card = dataclasses.replace(CARD, precision="int8", made_from="0" * 64)
    path = write_tiny_model(tmp_path / "kidney.onnx", card=card)
    assert read_artifact(path)[1] == card


def opening(path: Path) -> str:
    with pytest.raises(ArtifactError) as error:
        Predictor(path)
    return str(error.value)


def with_metadata(folder: Path, entries: dict[str, str]) -> Path:
    model = tiny_model()
    helper.set_model_props(model, entries)
    onnx.save(model, folder / "kidney.onnx")
    return folder / "kidney.onnx"


def test_the_model_made_here_goes_before_the_one_in_the_box(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    box = default_model()
    assert box.is_absolute()
    assert read_artifact(box)[1].classes == ("normal", "cyst", "tumor", "stone")
    made = tmp_path / "artifacts/kidney.onnx"
    made.parent.mkdir()
    made.touch()
    assert default_model().resolve() == made
