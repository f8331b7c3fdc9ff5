"""A classifier learns where kidneys lie: once for each frozen backbone, from the phantom."""

import hashlib
import json
from pathlib import Path

import torch
from omegaconf import DictConfig
from safetensors.torch import load_file, save_file
from torch import Tensor

from kidney.data.phantom.locator_set import SCANS, kidney_lessons
from kidney.files import whole_file
from kidney.models.classifier import KidneyClassifier
from kidney.models.locator import fit_locator
from kidney.models.prepare import body_region, cut_out


def learn_to_locate(cfg: DictConfig, classifier: KidneyClassifier, weights: str) -> None:
    """Fit the locator of a classifier whose trunk stays as it is, or read it from the cache.

    Args:
        cfg: the whole configuration.
        classifier: with the pretrained backbone; its locator is set.
        weights: identity of the backbone's weights.
    """
    key = json.dumps(
        [weights, cfg.model.backbone, cfg.model.image_size, list(cfg.model.stages), SCANS]
    )
    name = f"locator-{cfg.model.backbone}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    path = Path(cfg.workspace) / "cache" / f"{name}.safetensors"
    if not path.is_file():
        print(f"Learning from the phantom where kidneys lie: {path}", flush=True)
        maps, shares = _lessons(classifier.eval())
        fit_locator(classifier.locator, maps, shares)
        with whole_file(path) as temporary:
            save_file(classifier.locator.state_dict(), temporary)
    classifier.locator.load_state_dict(load_file(path))


def _lessons(classifier: KidneyClassifier) -> tuple[Tensor, Tensor]:
    """Return the trunk's maps (N, c, h, w) of the lessons and the kidney's share of each place."""
    maps, shares = [], []
    with torch.inference_mode():
        for lesson in kidney_lessons():
            slice_ = torch.from_numpy(lesson.slice)[None, None]
            region = body_region(slice_)
            found = classifier.place_maps(cut_out(slice_, region, classifier.image_size))
            kidney = torch.from_numpy(lesson.kidney)[None, None]
            maps.append(found)
            shares.append(cut_out(kidney, region, found.shape[2])[:, 0])
    # Out of inference mode: they take part in a fit.
    return torch.cat(maps).clone(), torch.cat(shares).clamp(0, 1).clone()
