"""int8 against float32 for each backbone: time, size, and what it costs."""

import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from sklearn.linear_model import LogisticRegression
from tqdm import tqdm

from benchmarks.timing import Row
from kidney.artifact.card import INPUT_CONTRACT, ModelCard, TrainingData, window_contract
from kidney.artifact.decision import Rules, findings
from kidney.artifact.predictor import Predictor
from kidney.data.cache import open_cache
from kidney.data.manifest import read_manifest
from kidney.export.benchmark import benchmark
from kidney.export.convert import Agreement, agreement
from kidney.export.onnx import Recipe, quantize, recipes, to_onnx, write_onnx
from kidney.models.classifier import KidneyClassifier
from kidney.models.prepare import prepare
from kidney.pipeline.data_stages import prepare as prepare_data

CONF = str(Path(__file__).parents[2] / "conf")
BACKBONES = ("lite0", "resnet50", "inception_v3", "vgg16", "vit")
A_SCAN = 8  # slices
MEASURED = 48  # slices on which the ranges of activations are measured


class Slices(NamedTuple):
    """Slices (H, W) with their class indices, and which of them train the head."""

    slices: list[np.ndarray]
    labels: np.ndarray
    train: np.ndarray  # bool
    classes: tuple[str, ...]


def export_rows(data: Path | None, weights: Path | None) -> Iterator[Row]:
    """Yield a row for each backbone as it is measured.

    A head is fitted to the frozen features of a few slices of each scan, and asked about the scans
    of every fourth fold: enough to see what int8 changes, no result of its own.

    Args:
        data: an ingested data folder; None: a phantom made for it.
        weights: a folder with weights named by backbone; where there are none, they are random.
    """
    with tempfile.TemporaryDirectory() as name:
        slices = _slices(data or _phantom(Path(name)))
        print(
            f"{len(slices.slices)} slices, {int((~slices.train).sum())} of them judged", flush=True
        )
        for backbone in BACKBONES:
            yield _row(backbone, weights, slices, Path(name))


def _row(backbone: str, weights: Path | None, slices: Slices, folder: Path) -> Row:
    cfg = composed(f"model={backbone}").model
    found = sorted(weights.glob(f"{cfg.backbone}-*.safetensors")) if weights else []
    torch.manual_seed(0)
    classifier = KidneyClassifier(
        cfg.backbone, str(found[0]) if found else "none", cfg.image_size, cfg.stages, 0.0,
        len(slices.classes),
    ).eval()  # fmt: skip
    _fit_head(classifier, slices)
    original, made = folder / "float32.onnx", folder / "int8.onnx"
    model, card = to_onnx(classifier), plain_card(classifier, cfg.backbone, slices.classes)
    write_onnx(model, card, original)
    # What int8 does to the evidence of a random network says nothing: no recipe is looked for.
    tried = list(recipes(model)) if found else list(recipes(model))[:1]
    recipe, auroc, judged = _quantise(model, card, tried, slices, original, made)
    ours, theirs = benchmark([original, made])
    kept = (
        f"macro AUROC {auroc:.3f} {-judged.auroc_lost:+.4f}, peaks in place {judged.peaks_kept:.0%}"
    )
    return Row(
        f"{backbone}, {'pretrained' if found else 'random'}, int8 ({recipe}), "
        f"{theirs.milliseconds:.1f} ms, {theirs.size_mb:.1f} MB; {kept}"
        + ("; refused" if judged.violations() else ""),
        f"float32, {ours.milliseconds:.1f} ms, {ours.size_mb:.1f} MB",
        ours.milliseconds / theirs.milliseconds,
    )


def _quantise(
    model: onnx.ModelProto,
    card: ModelCard,
    tried: list[Recipe],
    slices: Slices,
    original: Path,
    made: Path,
) -> tuple[str, float, Agreement]:
    """Write the first file that keeps the limits, as an export does, or the last that is tried."""
    judges = [slices.slices[row] for row in np.flatnonzero(~slices.train)]
    labels = slices.labels[~slices.train]
    training = [slices.slices[row] for row in np.flatnonzero(slices.train)]
    measured = training[:: max(1, len(training) // MEASURED)]
    before = Predictor(original).predict(judges)
    for recipe in tried:
        write_onnx(quantize(model, recipe, measured), card, made)
        judged = agreement(before, Predictor(made).predict(judges), labels)
        if not judged.violations():
            break
    return recipe.name, agreement(before, before, labels).auroc, judged


def _fit_head(classifier: KidneyClassifier, slices: Slices) -> None:
    """Fit norm and head to the frozen features by logistic regression."""
    rows = np.flatnonzero(slices.train)
    features = []
    with torch.inference_mode():
        for row in tqdm(rows, desc="features", unit="slice", leave=False):
            slice_ = torch.from_numpy(np.array(slices.slices[row]))
            embedding = classifier.embed(prepare(slice_[None, None], classifier.image_size))
            features.append(embedding[0, : classifier.backbone.channels])
    seen = torch.stack(features).numpy().astype(np.float64)
    mean, var = seen.mean(axis=0), seen.var(axis=0) + 1e-6
    fitted = LogisticRegression(C=0.01, max_iter=500).fit(
        (seen - mean) / np.sqrt(var), slices.labels[rows]
    )
    with torch.no_grad():
        for place, values in (
            (classifier.norm.running_mean, mean),
            (classifier.norm.running_var, var),
            (classifier.head.weight, fitted.coef_),
            (classifier.head.bias, fitted.intercept_),
        ):
            place.copy_(torch.from_numpy(values))


def _slices(folder: Path) -> Slices:
    manifest = read_manifest(folder)
    cache = open_cache(folder, manifest)
    rows = np.random.default_rng(0).permutation(len(manifest))
    rows = rows[manifest.iloc[rows].groupby("scan").cumcount().to_numpy() < A_SCAN]
    rows.sort()
    some = manifest.iloc[rows]
    classes = tuple(sorted(set(some["label"])))
    # Every fourth patient of a class judges: no patient is on both sides.
    patients = some.drop_duplicates("patient")
    turn = dict(zip(patients["patient"], patients.groupby("label").cumcount() % 4, strict=True))
    return Slices(
        [cache[int(row)] for row in rows],
        some["label"].map(classes.index).to_numpy(np.int64),
        some["patient"].map(turn).to_numpy() != 0,
        classes,
    )


def _phantom(workspace: Path) -> Path:
    cfg = composed(
        f"workspace={workspace}", "data=phantom", "++data.fetch.scans_per_class=8",
        "++data.fetch.size=512", "++data.fetch.max_slices=5",
    )  # fmt: skip
    prepare_data(cfg)
    return workspace / "data" / cfg.data.name


def composed(*overrides: str) -> DictConfig:
    """Return conf/config.yaml with these overrides."""
    with initialize_config_dir(CONF, version_base="1.3"):
        return compose("config", overrides=list(overrides))


def plain_card(classifier: KidneyClassifier, backbone: str, classes: tuple[str, ...]) -> ModelCard:
    """Return a card that makes a file complete and says nothing of a model."""
    unsaid = {field.name: "a benchmark" for field in dataclasses.fields(ModelCard)}
    return ModelCard(
        **{
            **unsaid,
            "classes": classes,
            "names": {name: name for name in classes},
            "input": INPUT_CONTRACT,
            "window": window_contract(None),
            "image_size": classifier.image_size,
            "backbone": backbone,
            "precision": "float32",
            "made_from": None,
            "bias": tuple(classifier.head.bias.tolist()),
            "temperature": 1.0,
            "rules": Rules(
                0.5, dict.fromkeys(findings(classes), 0.5), dict.fromkeys(classes, 0.5), None
            ),
            "data": TrainingData("a benchmark", "a benchmark", "", 0, 0),
            **dict.fromkeys(("baseline", "metrics", "verification", "benchmark")),
        }
    )
