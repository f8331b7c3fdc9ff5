"""Cross-validation as one command: folds below one parent, every slice tested once, pooled."""

import json
import sys

import pandas as pd
import pytest
from mlflow import MlflowClient

COMMAND = [
    sys.executable, "train.py", "--config-dir", ".", "--config-name", "params",
    "cross_validate=true", "trainer.max_epochs=1", "tracking.uri=sqlite:///cv.db",
]  # fmt: skip


def test_folds_are_children_of_one_run_and_each_slice_is_tested_once(pipeline):
    out = pipeline.run(*COMMAND).stdout
    assert "Split 'by_patient', fold all, part test" in out
    (folder,) = (pipeline.folder / "runs").glob("cv-*")
    files = ("predictions.csv", "validation-predictions.csv")
    said = pd.concat([pd.read_csv(folder / name) for name in files])
    slices = pd.read_csv(pipeline.folder / "data/phantom/manifest.csv")
    for part in ("val", "test"):
        rows = said[said["part"] == part]
        assert sorted(rows["path"]) == sorted(slices["path"])
        assert (rows.groupby("patient")["fold"].nunique() == 1).all()
    tested, validated = (
        said[said["part"] == part].set_index("path")["fold"].sort_index()
        for part in ("test", "val")
    )
    assert (validated == (tested - 1) % 3).all()
    result = json.loads((folder / "metrics.json").read_text())
    assert (result["slices"], result["split"]["fold"]) == (len(slices), "all")

    client = MlflowClient(f"sqlite:///{pipeline.folder}/cv.db")
    experiment = client.get_experiment_by_name("kidney").experiment_id
    (parent,) = client.search_runs([experiment], "tags.kind = 'cross-validation'")
    children = client.search_runs([experiment], f"tags.mlflow.parentRunId = '{parent.info.run_id}'")
    assert sorted(child.data.tags["fold"] for child in children) == ["0", "1", "2"]
    assert {run.info.status for run in (parent, *children)} == {"FINISHED"}
    figures = parent.data.metrics
    assert figures["pooled_macro_auroc"] == result["figures"]["macro_auroc"]["value"]
    assert 0 <= figures["best_val_macro_auroc"] <= 1
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} >= {
        "report.html",
        "predictions.csv",
    }


@pytest.mark.slow
def test_the_headline_puts_random_slices_beside_the_grouped_figures(pipeline):
    command = [sys.executable, "scripts/headline.py", *COMMAND[2:6], "trainer.max_epochs=1"]
    out = pipeline.run(*command, "tracking.uri=sqlite:///headline.db").stdout
    rows = [line.split("|")[1].strip() for line in out.splitlines() if line.startswith("| ")]
    assert rows == ["", *["random slices (they leak)"] * 2, *["by patient"] * 2]
    report = out.rsplit("Report: ", 1)[1].strip()
    assert "andom slices" in (pipeline.folder / report).read_text()
