"""ingest -> validate -> split -> train -> evaluate -> export -> serve, as a user meets them."""

import json
import os
import sqlite3
import subprocess
import sys

import numpy as np
import pytest
import requests
import torch
import yaml

from kidney.artifact.predictor import Predictor
from kidney.files import sha256
from kidney.imaging.pictures import decode_picture
from kidney.models.checkpoint import load_checkpoint
from tests.helpers.waiting import GUARD, address_of


@pytest.fixture(scope="module")
def server(pipeline):
    process = subprocess.Popen(
        [sys.executable, "serve.py", "--model", "artifacts/kidney.onnx", "--port", "0"],
        cwd=pipeline.folder, env=os.environ | {"KIDNEY_AUTH": "off"}, stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    yield address_of(process)
    process.terminate()
    process.wait(timeout=GUARD)


def test_every_stage_leaves_what_it_promises(pipeline):
    for name in (
        "data/phantom/manifest.csv", "data/phantom/rejected.csv", "data/phantom/validation.html",
        "data/phantom/validation.json", "data/phantom/splits/by_patient.json",
        *(f"artifacts/evaluation/by_patient/{name}" for name in (
            "metrics.json", "report.html", "predictions.csv", "model-card.json", "model-card.md",
        )),
        "artifacts/model.ckpt", "artifacts/kidney.onnx", "mlflow.db",
    ):  # fmt: skip
        assert (pipeline.folder / name).stat().st_size > 0, name


def test_an_int8_file_is_of_this_very_model_or_not_there(pipeline):
    path = pipeline.folder / "artifacts/kidney.onnx"
    card = Predictor(path).card
    assert card.verification.largest["probabilities"] < 5e-5
    assert card.benchmark.milliseconds > 0
    small = path.with_name("kidney.int8.onnx")
    if small.exists():  # a network of a minute's training may well miss the limits
        assert Predictor(small).card.made_from == sha256(path)
    left = [file.name for file in path.parent.glob(".*") if "onnx" in file.name]
    assert left == []


def test_figures_come_with_split_and_scans(pipeline):
    text = (pipeline.folder / "artifacts/evaluation/by_patient/metrics.json").read_text()
    result = json.loads(text)
    assert result["split"] | {"name": "by_patient", "part": "test"} == result["split"]
    assert result["scans"] == 4
    accuracy = result["figures"]["accuracy"]
    assert 0 <= accuracy["value"] <= 1
    assert (accuracy["low"], accuracy["high"]) == (None, None)  # of fewer than five patients
    assert {"loss", "balanced_accuracy", "macro_auroc", "recall_tumor"} <= set(result["figures"])
    assert np.sum(result["confusion"]) == result["slices"]
    page = (pipeline.folder / "artifacts/evaluation/by_patient/report.html").read_text()
    assert page.count("data:image/png;base64,") == result["scans"]  # each with its evidence


def test_the_run_is_remembered_with_all_that_repeats_it(pipeline):
    with sqlite3.connect(pipeline.folder / "mlflow.db") as store:
        tags = dict(store.execute("select key, value from tags"))
        params = {key for (key,) in store.execute("select key from params")}
        metrics = {key for (key,) in store.execute("select key from metrics")}
        epochs = store.execute("select count(*) from metrics where key = 'val_loss'").fetchone()[0]
        status = store.execute("select status from runs").fetchall()
    assert {"data", "split", "fold", "git_commit"} <= set(tags)
    assert {
        "model.backbone",
        "model.trainable",
        "trainer.max_epochs",
        "seed",
        "augmentations",
    } <= params
    assert {"train_loss", "val_macro_auroc", "best_val_macro_auroc", "test_macro_auroc"} <= metrics
    assert epochs == 1  # of the two, every second one is looked at
    assert status == [("FINISHED",)] * 2  # the training and its one fit
    kept = {path.name for path in (pipeline.folder / "mlartifacts").rglob("*") if path.is_file()}
    assert {"model.ckpt", "config.yaml", "metrics.json", "report.html"} <= kept


def test_a_changed_value_reruns_only_what_depends_on_it(pipeline):
    params = pipeline.folder / "params.yaml"
    before = params.read_text()
    try:
        params.write_text(yaml.safe_dump(yaml.safe_load(before) | {"seed": 1}, sort_keys=False))
        plan = pipeline.run("dvc", "repro", "--dry").stdout
    finally:
        params.write_text(before)
    # A dry run changes no output, so what follows from a new checkpoint is not in its plan.
    rerun = {line.split("'")[1] for line in plan.splitlines() if line.startswith("Running stage")}
    assert rerun == {"train"}
    assert "up to date" in pipeline.run("dvc", "status").stdout


def test_torch_onnxruntime_and_http_agree(pipeline, server):
    """The golden test: one file through all three, to 1e-5 on probabilities."""
    checkpoint = load_checkpoint(pipeline.folder / "artifacts/model.ckpt")
    predictor = Predictor(pipeline.folder / "artifacts/kidney.onnx")
    files = sorted((pipeline.folder / "data/phantom/raw").glob("[CNST]*/*.jpg"))[::9]
    assert len(files) >= 8
    for path in files:
        slice_ = decode_picture(path.read_bytes())
        with torch.inference_mode():
            ours = checkpoint.classifier(torch.from_numpy(slice_)[None, None])
        ours = ours.probabilities[0].numpy()
        theirs = predictor.predict([slice_])[0].probabilities
        with path.open("rb") as file:
            answer = requests.post(f"{server}/api/v1/predictions", files={"file": file}).json()
        served = answer["predictions"][0]["probabilities"]
        assert list(served) == list(checkpoint.hparams.classes)
        np.testing.assert_allclose(theirs, ours, atol=1e-5)
        np.testing.assert_allclose(list(served.values()), ours, atol=1e-5)


def test_all_three_agree_on_real_slices_too(pipeline, server, real_slices):
    classifier = load_checkpoint(pipeline.folder / "artifacts/model.ckpt").classifier
    predictor = Predictor(pipeline.folder / "artifacts/kidney.onnx")
    files = [("file", ("slice.jpg", data)) for data in real_slices]
    answers = requests.post(f"{server}/api/v1/predictions", files=files).json()["predictions"]
    slices = [decode_picture(data) for data in real_slices]
    for slice_, answer, served in zip(slices, predictor.predict(slices), answers, strict=True):
        with torch.inference_mode():
            ours = classifier(torch.from_numpy(slice_)[None, None]).probabilities[0].numpy()
        np.testing.assert_allclose(answer.probabilities, ours, atol=1e-5)
        np.testing.assert_allclose(list(served["probabilities"].values()), ours, atol=1e-5)


def test_the_exported_evidence_adds_up_to_the_logit(pipeline, real_slices):
    predictor = Predictor(pipeline.folder / "artifacts/kidney.onnx")
    for answer in predictor.predict([decode_picture(data) for data in real_slices]):
        logits = answer.evidence.mean(axis=(1, 2)) + np.array(predictor.card.bias)
        np.testing.assert_allclose(logits, answer.logits, atol=1e-4)


def test_the_card_names_what_the_model_is(pipeline):
    card = Predictor(pipeline.folder / "artifacts/kidney.onnx").card
    assert card.classes == ("normal", "cyst", "tumor", "stone")
    assert card.backbone == "test_resnet"
    assert card.data.window is None
    assert "do not tell theirs" in card.window.why
    assert card.temperature > 0
    assert card.temperature != 1, "it was never calibrated"
    assert card.rules.ood_above > 0
    assert set(card.rules.suspect_from) == {"cyst", "tumor", "stone"}
    assert card.metrics.split.name == "by_patient"
    assert card.metrics.scans == 4
    assert "Contrast phase" in card.limits
    assert 0 < card.baseline.slices < card.data.slices  # of the training part alone
    assert card.baseline.sizes == {"96 x 96": 1.0}


def test_evaluation_takes_the_best_run_by_validation(pipeline):
    config = ["data=phantom", "split.folds=3", "num_workers=0", "artifacts=elsewhere"]
    out = pipeline.run(sys.executable, "scripts/evaluate.py", *config).stdout
    assert "best validation macro AUROC" in out
    assert (pipeline.folder / "elsewhere/evaluation/by_patient/metrics.json").is_file()
