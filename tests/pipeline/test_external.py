"""An artifact on slices from elsewhere, as whoever holds them back would try it."""

import json
import shutil
import sys

import pandas as pd
import pytest

from tests.pipeline.conftest import PHANTOM


@pytest.fixture(scope="module")
def elsewhere(pipeline, tmp_path_factory):
    """Slices of the phantom in one flat archive, and a table of file, label and scan."""
    folder = tmp_path_factory.mktemp("elsewhere")
    raw = pipeline.folder / "data/phantom/raw"
    truth = pd.read_csv(raw / "phantom.csv").groupby("label").head(8)
    rows = []
    for row in truth.itertuples():
        (folder / "inner").mkdir(exist_ok=True)
        shutil.copy(raw / row.path, folder / "inner" / f"x{len(rows)}.jpg")
        rows.append({"file": f"x{len(rows)}.jpg", "label": row.label, "scan": row.scan})
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)
    shutil.make_archive(str(folder / "held-back"), "zip", folder, "inner")
    return folder


def evaluate(pipeline, *settings: str, check: bool = True):
    artifact = "artifact=artifacts/kidney.onnx"
    return pipeline.run(sys.executable, "scripts/evaluate.py", artifact, *settings, check=check)


def test_an_artifact_is_evaluated_by_the_scans_of_the_table(pipeline, elsewhere):
    before = (pipeline.folder / "data/phantom/manifest.csv").read_bytes()
    settings = [f"data.source={elsewhere}/held-back.zip", f"data.labels={elsewhere}/labels.csv"]
    out = evaluate(pipeline, *settings).stdout
    table = pd.read_csv(elsewhere / "labels.csv")
    assert f"{len(table)} slices of {table['scan'].nunique()} scans" in out
    folder = pipeline.folder / "artifacts/evaluation/external-held-back.zip"
    said = pd.read_csv(folder / "predictions.csv")
    assert sorted(said["scan"]) == sorted(table["scan"])
    assert said[["normal", "cyst", "tumor", "stone"]].sum(axis=1).round(4).eq(1).all()
    result = json.loads((folder / "metrics.json").read_text())
    assert 0 <= result["figures"]["macro_auroc"]["value"] <= 1
    assert "whether training saw them is not known" in (folder / "report.html").read_text()
    assert (pipeline.folder / "data/phantom/manifest.csv").read_bytes() == before


def test_phantoms_are_drawn_and_need_no_source(pipeline):
    out = evaluate(pipeline, *PHANTOM, "data.fetch.seed=9", "data.fetch.max_slices=2").stdout
    assert "24 slices" in out
    said = pd.read_csv(pipeline.folder / "artifacts/evaluation/external-phantom/predictions.csv")
    assert len(said) == 24


def test_what_cannot_be_evaluated_is_told(pipeline, elsewhere):
    nothing = evaluate(pipeline, check=False)
    assert nothing.returncode == 1
    assert "data.source=PATH" in nothing.stderr
    (elsewhere / "odd.csv").write_text("file,label,scan\nx0.jpg,lipoma,s\n")
    source = f"data.source={elsewhere}/held-back.zip"
    odd = evaluate(pipeline, source, f"data.labels={elsewhere}/odd.csv", check=False)
    assert odd.returncode == 1
    assert "'lipoma', but classes are normal, cyst, tumor, stone" in odd.stderr
    assert "Traceback" not in odd.stderr
