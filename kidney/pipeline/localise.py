"""A model on slices whose lesions are drawn -> how well its evidence finds them."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from hydra.utils import instantiate
from numpy.typing import NDArray
from omegaconf import DictConfig
from tqdm import tqdm

from kidney.artifact.card import ModelCard
from kidney.data.masks import MaskedSlice, read_masked_slices
from kidney.errors import DataError
from kidney.evaluation.metrics.localisation import (
    Placed,
    Region,
    enlarge,
    localisation_figures,
    place,
    relative,
)
from kidney.evaluation.report.localisation_page import NAMES, localisation_page, slice_picture
from kidney.evaluation.result import Localisation
from kidney.files import whole_folder, write_text
from kidney.models.checkpoint import load_checkpoint
from kidney.models.classifier import KidneyClassifier, explain, grad_cam
from kidney.pipeline.checkpoints import choose_checkpoint
from kidney.pipeline.data_stages import origin_of
from kidney.pipeline.entry import tracking_of, workspace_of
from kidney.tracking.runs import log_figures
from kidney.training.fit import keep_freed_memory
from kidney.training.spec import model_of

FILES = ("localisation.json", "localisation.html", "localisation.csv")
_PICTURES = 48  # on the page at most
NORMAL = "normal"
CHOSEN = "relative"  # of the maps: what moves the probabilities, and what is called "the evidence"


class Explained(NamedTuple):
    """What a model shows for one slice."""

    evidence: NDArray[np.float32]  # (K, h, w)
    region: Region | None  # what the maps cover, in pixels of the slice; None: all of it
    grad_cam: NDArray[np.float32] | None  # (h, w) of the class that was asked for


# slice (H, W) -> evidence (K, h, w) and the region that it covers
Predict = Callable[[NDArray[np.uint8]], tuple[NDArray[np.float32], Region | None]]
MapsOf = Callable[[NDArray[np.uint8], int], Explained]  # slice (H, W), class -> its maps


def localise_checkpoint(cfg: DictConfig) -> tuple[Localisation, Path]:
    """Localise with the chosen checkpoint, Grad-CAM beside it, and log the figures to its run.

    Raises:
        KidneyError: no such checkpoint, or no slices with masks.
    """
    keep_freed_memory()
    chosen = choose_checkpoint(cfg)
    print(f"Localising with {chosen.checkpoint} because {chosen.reason}", flush=True)
    checkpoint = load_checkpoint(chosen.checkpoint)
    hparams, lineage = checkpoint.hparams, checkpoint.lineage
    model = model_of(lineage, hparams.backbone)
    maps_of = explain_with(checkpoint.classifier)
    result, folder = localise(cfg, maps_of, hparams.classes, model)
    files = [folder / name for name in FILES]
    log_figures(tracking_of(cfg), lineage.run, "localisation", result.localisation, files)
    return result, folder


def localise_artifact(
    cfg: DictConfig, card: ModelCard, predict: Predict
) -> tuple[Localisation, Path]:
    """Localise with an exported artifact; it has no gradients, so no Grad-CAM."""

    def maps_of(slice_: NDArray[np.uint8], _target: int) -> Explained:
        return Explained(*predict(slice_), None)

    model = {"backbone": card.backbone, "run": card.run, "code": card.code}
    return localise(cfg, maps_of, card.classes, model)


def explain_with(classifier: KidneyClassifier) -> MapsOf:
    """Return what a classifier in evaluation mode shows, Grad-CAM included."""

    def maps_of(slice_: NDArray[np.uint8], target: int) -> Explained:
        evidence, (top, left, bottom, right) = explain(classifier, slice_)
        slices = torch.from_numpy(slice_.copy())[None, None]
        cam = grad_cam(classifier, slices, torch.tensor([target]))[0].numpy()
        return Explained(evidence, (top, left, bottom, right), cam)

    return maps_of


def localise(
    cfg: DictConfig, maps_of: MapsOf, classes: Sequence[str], model: dict[str, str]
) -> tuple[Localisation, Path]:
    """Fetch the slices with masks, measure, and write localisation.json and the page.

    Args:
        cfg: the whole configuration; of `data` the name, the source and how to fetch it count.
        model: what the result says of it: backbone, run and code.
    """
    name = origin_of(cfg) or str(cfg.data.name)
    with whole_folder(workspace_of(cfg).data(f"masked-{name}")) as raw:
        instantiate(cfg.data.fetch, _partial_=True)(raw)
        masked = read_masked_slices(raw)
    maps, pictures, table = measure(maps_of, classes, masked)
    content = {
        "model": model,
        "data": {"name": name},
        "slices": len(masked),
        "patients": len({one.patient for one in masked}),
        "maps": maps,
        "localisation": embedded(maps),
    }
    result = Localisation.model_validate(content)
    folder = workspace_of(cfg).artifacts / "localisation" / name
    write_text(folder / "localisation.csv", table.to_csv(index=False))
    write_text(folder / "localisation.html", localisation_page(result, pictures))
    write_text(folder / "localisation.json", json.dumps(content, indent=1) + "\n")
    return result, folder


def measure(
    maps_of: MapsOf, classes: Sequence[str], masked: Sequence[MaskedSlice]
) -> tuple[dict[str, dict[str, Any]], list[tuple[bytes, str]], pd.DataFrame]:
    """Compare a model's maps with the drawn lesions.

    Returns:
        Figures of each map (evidence, relative, and grad_cam where there is one), and pictures with
        captions of the slices whose peaks lie farthest from their lesions; and a row a slice: path,
        frame, label, patient and peak_inside, 1 or 0, of the chosen map.

    Raises:
        DataError: a lesion that is no class of the model.
    """
    if unknown := {one.label for one in masked} - set(classes):
        raise DataError(
            f"Expected lesions of {', '.join(classes)}, but masks show {', '.join(unknown)}.",
            "Choose slices whose lesions the model was trained to tell.",
        )
    compared = [
        _compare(one, maps_of(one.pixels, list(classes).index(one.label)), classes)
        for one in tqdm(masked, desc="Localise", unit="slice")
    ]
    labels = np.array([one.label for one in masked])
    patients = np.array([one.patient for one in masked])
    figures = {
        kind: dict(localisation_figures([slice_[kind][1] for slice_ in compared], labels, patients))
        for kind in compared[0]
    }
    table = pd.DataFrame(
        {
            "path": [one.path for one in masked],
            "frame": 0,
            "label": labels,
            "patient": patients,
            "peak_inside": [int(slice_[CHOSEN][1].inside) for slice_ in compared],
        }
    )
    worst = np.argsort([-slice_[CHOSEN][1].distance for slice_ in compared], kind="stable")[
        :_PICTURES
    ]
    return figures, [_shown(masked[row], compared[row]) for row in worst], table


_Maps = dict[str, tuple[NDArray[np.floating], Placed]]  # name -> map (H, W), and how it lies


def _compare(one: MaskedSlice, shown: Explained, classes: Sequence[str]) -> _Maps:
    target = list(classes).index(one.label)
    normal = list(classes).index(NORMAL) if NORMAL in classes else None
    maps: dict[str, NDArray[np.floating]] = {
        CHOSEN: relative(shown.evidence, target, normal),
        "evidence": shown.evidence[target],
    }
    if shown.grad_cam is not None:
        maps["grad_cam"] = shown.grad_cam
    shape = (one.pixels.shape[0], one.pixels.shape[1])
    laid = {kind: enlarge(values, shape, shown.region) for kind, values in maps.items()}
    return {kind: (values, place(values, one.lesion)) for kind, values in laid.items()}


def _shown(one: MaskedSlice, maps: _Maps) -> tuple[bytes, str]:
    found = "; ".join(
        f"{NAMES[kind]}: {'inside' if where.inside else f'{where.distance:.0f} pixels off'}"
        for kind, (_, where) in maps.items()
    )
    return slice_picture(one.pixels, one.lesion, list(maps.values())), f"{one.path}. {found}."


def embedded(maps: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the figures as an evaluation carries them: the chosen map's, then the references'.

    The chosen map's names stay as they are; the others' begin with evidence_ or grad_cam_.
    """
    references = {
        f"{kind}_{name}": maps[kind][name]
        for kind in maps
        if kind != CHOSEN
        for name in ("peak_inside", "iou", "iou_best")
    }
    return {**maps[CHOSEN], **references}
