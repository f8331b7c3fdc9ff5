"""A lesion model through the real command: sources -> folds -> checkpoint -> kidney.onnx."""

import zipfile
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from kidney.artifact.predictor import Predictor
from kidney.errors import ArtifactError
from kidney.imaging.pictures import decode_picture
from kidney.models.checkpoint import load_checkpoint
from kidney.models.lesion_classifier import LESIONS, LesionClassifier
from kidney.pipeline.lesions import lesion_spec, targets_stage, train_without
from tests.pipeline.conftest import ROOT, Checkout

SMALL = [
    "sources=mini", "model.weights=none", "model.image_size=64", "model.decoder_width=8",
    "slices=128", "folds=2", "processes=1", "training.steps=4", "decisions.sensitivity=0.5",
]  # fmt: skip


@pytest.fixture(scope="module")
def trained(make_checkout, shared: Path) -> Checkout:
    checkout = make_checkout()
    checkout.run("python", "scripts/train_lesions.py", f"folder={shared / 'data'}", *SMALL)
    return checkout


@pytest.fixture(scope="module")
def slices(shared: Path) -> list[np.ndarray]:
    with zipfile.ZipFile(shared / "data/ct-kidney-mini.zip") as packed:
        names = sorted(name for name in packed.namelist() if name.endswith(".jpg"))
        return [decode_picture(packed.read(name), name) for name in names[::30]]


def test_the_file_is_verified_and_answers(trained: Checkout, slices: list[np.ndarray]):
    predictor = Predictor(trained.folder / "artifacts/kidney.onnx")
    assert predictor.card.classes == ("normal", "cyst", "tumor", "stone")
    assert predictor.card.metrics is not None
    assert predictor.card.metrics.split.fold == "all"
    for prediction in predictor.predict(slices):
        assert prediction.evidence.shape == (4, 16, 16)
        means = prediction.evidence.mean(axis=(1, 2)) + np.array(predictor.card.bias)
        np.testing.assert_allclose(means, prediction.logits, rtol=1e-3, atol=1e-3)


def test_all_outputs_agree_with_torch(trained: Checkout, slices: list[np.ndarray]):
    classifier = load_checkpoint(trained.folder / "runs/lesions/model.ckpt").model
    assert isinstance(classifier, LesionClassifier)
    session = onnxruntime.InferenceSession(trained.folder / "artifacts/kidney.onnx")
    names = [output.name for output in session.get_outputs()]
    assert names[-4:] == ["findings", "kidney", "lesions", "presence"]
    for slice_ in slices:
        found = session.run(None, {"slices": slice_[None, None]})
        with torch.inference_mode():
            expected = classifier(torch.from_numpy(slice_)[None, None])
        for name, values in zip(names, found, strict=True):
            own = getattr(expected, name).numpy()
            scale = max(1.0, float(np.abs(own).max()))
            np.testing.assert_allclose(values / scale, own / scale, atol=1e-3, err_msg=name)
        # A network of a few steps has flat maps: places that are alike may change places.
        peak = found[names.index("evidence")][0, 2].argmax()
        tumor = found[names.index("lesions")][0, LESIONS.index("tumor")]
        assert tumor.flat[peak] >= tumor.max() - 0.05


def configuration(trained: Checkout, shared: Path, *more: str) -> DictConfig:
    """The configuration of the training, with its workspace from anywhere."""
    overrides = [f"folder={shared / 'data'}", f"workspace={trained.folder}", *SMALL, *more]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("lesions", overrides)


def test_the_table_of_targets(trained: Checkout, shared: Path):
    table = targets_stage(configuration(trained, shared))
    assert "| 1 | macro AUROC |" in table
    written = trained.folder / "artifacts/evaluation/by_patient/targets.md"
    assert written.read_text(encoding="utf-8") == table


def test_a_source_is_left_out_and_predicted(trained: Checkout, shared: Path):
    table = train_without(configuration(trained, shared, "without=[public]"))
    assert table.startswith("| # | figure |")
    assert (trained.folder / "runs/lesions-without-public/all/predictions.npz").is_file()


def test_targets_of_no_training_are_an_error(trained: Checkout, shared: Path):
    with pytest.raises(ArtifactError, match="Train it first"):
        targets_stage(configuration(trained, shared, "name=other"))


def test_the_demo_is_trained_on_drawn_patients_from_random_weights():
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        spec = lesion_spec(compose("demo"))
        unseen = compose("config", ["experiment=demo"])
    (source,) = spec.sources
    assert (source.name, source.files, source.as_served, source.in_folds) == (
        "phantom", {}, True, True
    )  # fmt: skip
    assert not spec.classifier().net.encoder.frozen
    assert unseen.artifact == f"{spec.run.parents[1].name}/artifacts/kidney.onnx"


def test_a_lesion_model_is_none_of_train_py(trained: Checkout):
    checkpoint = load_checkpoint(trained.folder / "runs/lesions/model.ckpt")
    with pytest.raises(ArtifactError, match="that of a lesion model"):
        _ = checkpoint.classifier
