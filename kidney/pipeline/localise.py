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
from kidney.models.classifier import KidneyClassifier
from kidney.models.gradcam import grad_cam
from kidney.pipeline.data_stages import origin_of
from kidney.pipeline.select_checkpoint import choose_checkpoint
from kidney.tracking.runs import Tracking, log_result
from kidney.training.memory import keep_freed_memory

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
Answer = Callable[[NDArray[np.uint8]], tuple[NDArray[np.float32], Region | None]]
Explain = Callable[[NDArray[np.uint8], int], Explained]  # slice (H, W), class -> its maps


def localise_checkpoint(cfg: DictConfig) -> tuple[Localisation, Path]:
    """Localise with the chosen checkpoint, Grad-CAM beside it, and log the figures to its run.

    Returns:
        The result, and the folder with localisation.json and localisation.html.

    Raises:
        KidneyError: no such checkpoint, or no slices with masks.
    """
    keep_freed_memory()
    chosen = choose_checkpoint(cfg)
    print(f"Localising with {chosen.checkpoint} because {chosen.reason}", flush=True)
    classifier, settings = load_checkpoint(chosen.checkpoint)
    lineage = settings["lineage"]
    model = {"backbone": settings["backbone"], "run": lineage["run"], "code": lineage["code"]}
    result, folder = localise(cfg, explain_with(classifier), settings["classes"], model)
    figures = {
        f"localisation_{name}": figure.value
        for name, figure in result.localisation.items()
        if figure.value is not None
    }
    tracking = Tracking(cfg.tracking.uri, cfg.tracking.experiment)
    log_result(tracking, lineage["run"], figures, [folder / name for name in FILES])
    return result, folder


def localise_artifact(
    cfg: DictConfig, card: ModelCard, answer: Answer
) -> tuple[Localisation, Path]:
    """Localise with an exported artifact; it has no gradients, so no Grad-CAM.

    Args:
        cfg: the whole configuration.
        card: of the artifact.
        answer: the artifact.
    """

    def explain(slice_: NDArray[np.uint8], _target: int) -> Explained:
        evidence, region = answer(slice_)
        return Explained(evidence, region, None)

    model = {"backbone": card.backbone, "run": card.run, "code": card.code}
    return localise(cfg, explain, card.classes, model)


def explain_with(classifier: KidneyClassifier) -> Explain:
    """Return what a classifier in evaluation mode shows, Grad-CAM included."""

    def explain(slice_: NDArray[np.uint8], target: int) -> Explained:
        slices = torch.from_numpy(slice_.copy())[None, None]
        with torch.inference_mode():
            answer = classifier(slices)
        seen = grad_cam(classifier, slices, torch.tensor([target]))[0].numpy()
        top, left, bottom, right = answer.region[0].tolist()
        return Explained(answer.evidence[0].numpy(), (top, left, bottom, right), seen)

    return explain


def localise(
    cfg: DictConfig, explain: Explain, classes: Sequence[str], model: dict[str, Any]
) -> tuple[Localisation, Path]:
    """Fetch the slices with masks, measure, and write localisation.json and the page.

    Args:
        cfg: the whole configuration; of `data` the name, the source and how to fetch it count.
        explain: the model.
        classes: of the model.
        model: what the result says of it: backbone, run and code.
    """
    name = origin_of(cfg) or str(cfg.data.name)
    with whole_folder(Path(cfg.workspace) / "data" / f"masked-{name}") as raw:
        instantiate(cfg.data.fetch, _partial_=True)(raw)
        masked = read_masked_slices(raw)
    maps, pictures, table = measure(explain, classes, masked)
    content = {
        "model": model,
        "data": {"name": name},
        "slices": len(masked),
        "patients": len({one.patient for one in masked}),
        "maps": maps,
        "localisation": embedded(maps),
    }
    result = Localisation.model_validate(content)
    folder = Path(cfg.artifacts) / "localisation" / name
    write_text(folder / "localisation.csv", table.to_csv(index=False))
    write_text(folder / "localisation.html", localisation_page(result, pictures))
    write_text(folder / "localisation.json", json.dumps(content, indent=1) + "\n")
    return result, folder


def measure(
    explain: Explain, classes: Sequence[str], masked: Sequence[MaskedSlice]
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
    seen = [
        _compare(one, explain(one.pixels, list(classes).index(one.label)), classes)
        for one in tqdm(masked, desc="Localise", unit="slice")
    ]
    labels = np.array([one.label for one in masked])
    patients = np.array([one.patient for one in masked])
    figures = {
        kind: dict(localisation_figures([slice_[kind][1] for slice_ in seen], labels, patients))
        for kind in seen[0]
    }
    table = pd.DataFrame(
        {
            "path": [one.path for one in masked],
            "frame": 0,
            "label": labels,
            "patient": patients,
            "peak_inside": [int(slice_[CHOSEN][1].inside) for slice_ in seen],
        }
    )
    worst = np.argsort([-slice_[CHOSEN][1].distance for slice_ in seen], kind="stable")[:_PICTURES]
    return figures, [_shown(masked[row], seen[row]) for row in worst], table


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
