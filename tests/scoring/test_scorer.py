"""What one worker makes of a chunk, without Ray."""

import io
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pyarrow.parquet as pq
import pytest

from kidney.artifact.decision import decide
from kidney.artifact.predictor import Predictor
from kidney.errors import KidneyError
from kidney.imaging.deidentify import pseudonym
from kidney.imaging.slices import read_slices
from kidney.imaging.windows import ABDOMEN, Window
from kidney.remote import object_store
from kidney.scoring.scorer import Job, Scorer
from tests.helpers.dicom_files import changed
from tests.helpers.pictures import encode
from tests.helpers.tiny_model import CARD
from tests.scoring.conftest import PATIENT, SALT, Archive

KEY = SALT.encode()


def scorer(model: Path, out: Path | str, window: Window = ABDOMEN) -> Scorer:
    return Scorer(model.read_bytes(), Job(str(window), KEY, str(out)))


def scored(model: Path, out: Path, paths: list[str], window: Window = ABDOMEN) -> Any:
    """Return counts, and the rows of slices and of bad files."""
    scored_chunk = scorer(model, out, window)({"chunk": json.dumps(["1", paths])})
    rows = pq.read_table(out / "slices" / "1.parquet").to_pylist()
    bad = out / "errors" / "1.parquet"
    return (
        json.loads(scored_chunk["counts"]),
        rows,
        pq.read_table(bad).to_pylist() if bad.exists() else [],
    )


def test_answers_are_those_of_the_predictor(model: Path, archive: Archive, tmp_path: Path) -> None:
    counts, rows, bad = scored(model, tmp_path, [*archive.slices, *archive.bad])
    assert counts["slices"] == len(archive.slices)
    assert [row["path"] for row in rows] == [*archive.slices]
    for row in rows:
        (slice_,) = read_slices(Path(row["path"]), ABDOMEN, "it")
        (prediction,) = Predictor(model, threads=1).predict([slice_])
        decision = decide(prediction.probabilities, CARD.classes, CARD.rules, prediction.ood_score)
        found = [row[f"probability_{name}"] for name in CARD.classes]
        assert found == pytest.approx(prediction.probabilities.tolist(), abs=1e-6)
        assert (row["decision"], row["label"]) == (decision.outcome, decision.label)
        assert row["prediction_set"] == list(decision.prediction_set)
        assert row["suspected"] == list(decision.suspected)
        assert (row["height"], row["width"]) == slice_.shape
    assert {row["path"]: row["kind"] for row in bad} == archive.bad


def test_no_row_names_the_patient(model: Path, archive: Archive, tmp_path: Path) -> None:
    _, rows, bad = scored(model, tmp_path, [*archive.slices, *archive.bad])
    dicom = [row for row in rows if row["instance"]]
    assert [row["instance"] for row in dicom] == [17, 18]
    assert {row["patient"] for row in dicom} == {pseudonym(KEY, PATIENT)}
    assert all(len(row[name]) == 12 for row in dicom for name in ("study", "series"))
    written = json.dumps(rows) + json.dumps(bad)
    assert "Doe" not in written
    for row in bad:
        assert len(row["problem"]) > 10
        assert len(row["remedy"]) > 5
        assert "/" not in row["problem"]  # the path has a column of its own


def test_the_peak_of_the_evidence_is_where_the_slice_is_brightest(
    model: Path, tmp_path: Path
) -> None:
    grey = np.zeros((80, 160), np.uint8)
    grey[60:70, 20:40] = 255
    (tmp_path / "spot.png").write_bytes(encode(grey))
    _, (row,), _ = scored(model, tmp_path / "out", [str(tmp_path / "spot.png")])
    assert row["label"] == "normal"
    # Evidence for normal is the stronger the darker it is, so its peak lies elsewhere.
    assert not (60 <= row["peak_row"] < 70 and 20 <= row["peak_column"] < 40)
    assert 0 <= row["peak_row"] < 80
    assert 0 <= row["peak_column"] < 160
    assert row["evidence"] == pytest.approx(0.0)


def test_the_window_decides_what_the_model_sees(
    model: Path, archive: Archive, tmp_path: Path
) -> None:
    (path, *_) = [name for name in archive.slices if name.endswith(".dcm")]
    rows = [
        scored(model, tmp_path / str(width), [path], Window(40, width))[1][0]
        for width in (400, 4000)
    ]
    assert rows[0]["probability_tumor"] != rows[1]["probability_tumor"]


def test_slices_of_a_volume_are_numbered(model: Path, tmp_path: Path) -> None:
    voxels = np.zeros((40, 36, 3), np.int16)
    path = tmp_path / "volume.nii.gz"
    nib.save(nib.Nifti1Image(voxels, np.diag([-1.0, -1.0, 5.0, 1.0])), path)
    counts, rows, _ = scored(model, tmp_path / "out", [str(path)])
    assert counts == {"slices": 3}
    assert [row["frame"] for row in rows] == [0, 1, 2]


@pytest.mark.usefixtures("s3")
def test_what_would_spoil_all_files_ends_the_run(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: str) -> None:
        raise OSError("AWS Error ACCESS_DENIED during HeadObject operation: No response body.")

    monkeypatch.setattr(object_store, "_connect", refuse)
    with pytest.raises(KidneyError, match="refused: HTTP 403"):
        scorer(model, tmp_path)({"chunk": json.dumps(["1", ["s3://hospital/in/1.png"]])})
    assert not list(tmp_path.rglob("*.parquet"))


def test_objects_are_read_and_parts_written_in_s3(model: Path, s3: Any, archive: Archive) -> None:
    one = next(iter(archive.slices))
    s3.put_object(Bucket="hospital", Key="in/1.png", Body=Path(one).read_bytes())
    names = [f"s3://hospital/in/{name}" for name in ("1.png", "gone.png", "a//b.png")]
    scored_chunk = scorer(model, "s3://hospital/out")({"chunk": json.dumps(["1", names])})
    assert json.loads(scored_chunk["counts"]) == {"slices": 1, "unreadable": 2}
    found = s3.get_object(Bucket="hospital", Key="out/slices/1.parquet")["Body"].read()
    table = pq.read_table(io.BytesIO(found))
    assert table["path"].to_pylist() == names[:1]
    assert table.schema.metadata[b"kidney.model"].decode() == Predictor(model, 1).sha256


def test_doubts_and_plane_of_a_slice_are_columns(model: Path, dicom: bytes, tmp_path: Path) -> None:
    flat = np.full((64, 64), 1064, "<u2").tobytes()
    for name, data in {"good": dicom, "flat": changed(dicom, PixelData=flat)}.items():
        (tmp_path / name).write_bytes(data)
    paths = [str(tmp_path / "good"), str(tmp_path / "flat")]
    _, (good, flat_row), bad = scored(model, tmp_path / "out", paths)
    assert bad == []
    assert (good["plane"], good["doubts"]) == ("axial", [])
    assert "nothing in the slice is air" in flat_row["doubts"][0]
