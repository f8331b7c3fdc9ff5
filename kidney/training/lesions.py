"""The training of the lesion network on a bank of frozen maps: loss, schedule, loop.

Steps depend on the seed and their number alone: a training that was stopped and resumed ends with
the same weights as one that was not.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor, nn
from tqdm import tqdm

from kidney.errors import DataError
from kidney.files import whole_file
from kidney.models.lesion_net import MAPS, LesionNet
from kidney.training.lesion_bank import Bank, trunk_names

RESUME = "resume.ckpt"
_MAP_WEIGHTS = {"kidney": 1.0, "tumor": 1.0, "cyst": 0.6, "stone": 0.6}
_HARD, _ALL, _DICE = 1.0, 4.0, 0.7  # weights of hard negatives, all negatives and Dice
_HARDEST = 60 / 64**2  # share of the negative places of a slice that count as hard
_LEAST_POSITIVES = 4  # a batch with less, see `_dense`, does not get all the weight
# Weight of labels without masks, and the share of places that have to show them.
_WEAK, _WEAK_PLACES = 0.25, 12 / 64**2
_WARM_UP, _LAST_RATE = 30, 0.01  # steps, and share of the learning rate at the end
_CLIP = 3.0  # of the gradient's norm
_AVERAGE = 0.95  # of the figures that are shown


@dataclass(frozen=True)
class LesionSettings:
    """How a lesion network is trained.

    Attributes:
        steps: of the optimizer.
        batch_size: slices a step.
        learning_rate: highest, of decoder and head.
        backbone_lr_scale: that of the encoder's tail relative to it.
        weight_decay: of AdamW.
        weak_labels: whether slices with a label and no mask take part in the maps of findings.
        seed: of order, dropout and mirroring.
        save_every: steps between two states to resume from.
    """

    steps: int = 1500
    batch_size: int = 12
    learning_rate: float = 2e-3
    backbone_lr_scale: float = 0.25
    weight_decay: float = 0.02
    weak_labels: bool = True
    seed: int = 0
    save_every: int = 50


def lesion_loss(
    logits: Tensor, target: Tensor, known: Tensor, present: Tensor
) -> tuple[Tensor, dict[str, float]]:
    """Return the loss of a batch, and the part of each map.

    Where the truth is known: cross-entropy of positives, of the hardest negatives of each slice and
    of all negatives, each averaged on its own, and Dice by slice, so that a small lesion counts as
    much as a large one. Where only a label says that a slice shows a finding, the best places
    inside the kidneys that the network finds have to show it.

    Args:
        logits: float (N, 4, s, s) of MAPS.
        target: float (N, 4, s, s), share of each place.
        known: float (N, 4, s, s), 1 where the target is the truth.
        present: float (N, 4), 1 where the slice shows the finding somewhere.
    """
    entropy = nnf.binary_cross_entropy_with_logits(logits, target, reduction="none") * known
    total, parts = logits.new_zeros(()), {}
    for channel, name in enumerate(MAPS):
        part = _dense(*(values[:, channel] for values in (logits, entropy, target, known)))
        parts[name] = float(part.detach())
        total = total + _MAP_WEIGHTS[name] * part
    gate = nnf.logsigmoid(logits[:, 0].detach() + 1.0)
    for channel, name in enumerate(MAPS):
        shows = present[:, channel]
        if channel and shows.any():
            places = (logits[:, channel] + gate).flatten(1)
            best = places.topk(_count(_WEAK_PLACES, places), dim=1).values.mean(dim=1)
            weak = (nnf.softplus(-best) * shows).sum() / shows.sum()
            parts[f"weak {name}"] = float(weak.detach())
            total = total + _WEAK * weak
    return total, parts


def _dense(logits: Tensor, entropy: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Return the loss of one map where its truth is known; all (N, s, s).

    The n positive places of a slice weigh 1 / sqrt(n) each, so that a slice counts as sqrt(n) and
    small lesions are not drowned by large ones.
    """
    positive = (target >= 0.5).float() * known
    weights = positive / positive.sum(dim=(1, 2), keepdim=True).clamp(min=1).sqrt()
    missed = (entropy * weights).sum() / weights.sum().clamp(min=_LEAST_POSITIVES)
    negatives = ((target < 0.5).float() * known * entropy).flatten(1)
    hard = negatives.topk(_count(_HARDEST, negatives), dim=1).values.mean()
    share = torch.sigmoid(logits) * known
    both = (share * target).sum(dim=(1, 2))
    drawn = (target * known).sum(dim=(1, 2))
    has_any = (drawn > 1).float()
    dice = 1 - 2 * both / (share.sum(dim=(1, 2)) + drawn + 1)
    dice = (dice * has_any).sum() / has_any.sum().clamp(min=1)
    return missed + _HARD * hard + _ALL * negatives.mean() + _DICE * dice


def _count(share: float, places: Tensor) -> int:
    return max(1, round(share * places.shape[1]))


def fit_lesions(net: LesionNet, bank: Bank, settings: LesionSettings, folder: Path) -> None:
    """Train a network; go on where the same training was stopped.

    Args:
        net: with a pretrained encoder; it ends in evaluation mode.
        bank: of slices that it may see.
        settings: of the training.
        folder: keeps the state to resume from until the training ends.

    Raises:
        DataError: fewer slices than a batch.
    """
    if len(bank) < settings.batch_size:
        raise DataError(
            f"Expected at least a batch of {settings.batch_size} slices to train on, but the bank "
            f"has {len(bank)} that this fold may see.",
            "Make the bank larger (slices=...), or the batch smaller (training.batch_size=...).",
        )
    optimizer = _optimizer(net, settings)
    step = _resume(net, optimizer, folder / RESUME)
    net.train().to(memory_format=torch.channels_last)
    shown: dict[str, float] = {}
    with tqdm(total=settings.steps, initial=step, desc=folder.name, unit="step") as bar:
        while step < settings.steps:
            torch.manual_seed(_seed(settings.seed, step))
            for group in optimizer.param_groups:
                group["lr"] = group["scale"] * learning_rate(settings, step)
            batch = bank.batch(_rows(len(bank), settings, step))
            loss, parts = _forward(net, batch, settings.weak_labels)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(net.parameters(), _CLIP)
            optimizer.step()
            step += 1
            _show(bar, shown, parts)
            if step % settings.save_every == 0 and step < settings.steps:
                state = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
                with whole_file(folder / RESUME) as temporary:
                    torch.save(state, temporary)
    net.eval()
    (folder / RESUME).unlink(missing_ok=True)


def learning_rate(settings: LesionSettings, step: int) -> float:
    """Return the rate at a step: a linear warm-up, then half a cosine."""
    cosine = 0.5 * (1 + math.cos(math.pi * step / settings.steps))
    return settings.learning_rate * min(1.0, (step + 1) / _WARM_UP) * (cosine + _LAST_RATE)


def _forward(
    net: LesionNet, batch: Mapping[str, Tensor], weak_labels: bool
) -> tuple[Tensor, dict[str, float]]:
    """Return the loss of a batch, mirrored half the time.

    The trunk's maps of a mirrored slice are nearly the mirrored maps.
    """
    maps = {name: values for name, values in batch.items() if name != "present"}
    if torch.rand(()) < 0.5:
        maps = {name: values.flip(3) for name, values in maps.items()}
    trunk = [maps[name].contiguous(memory_format=torch.channels_last) for name in trunk_names(maps)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = net.forward_head(net.forward_tail(*trunk).decoded)
    present = batch["present"] * float(weak_labels)
    return lesion_loss(logits.float(), maps["target"], maps["known"], present)


def _optimizer(net: LesionNet, settings: LesionSettings) -> torch.optim.AdamW:
    trained = [(n, p) for n, p in net.named_parameters() if p.requires_grad]
    groups = [
        {"params": [p for n, p in trained if not n.startswith("encoder.")], "scale": 1.0},
        {
            "params": [p for n, p in trained if n.startswith("encoder.")],
            "scale": settings.backbone_lr_scale,
        },
    ]
    return torch.optim.AdamW(groups, settings.learning_rate, weight_decay=settings.weight_decay)


def _resume(net: LesionNet, optimizer: torch.optim.AdamW, path: Path) -> int:
    if not path.is_file():
        return 0
    state = torch.load(path, weights_only=True)
    net.load_state_dict(state["net"])
    optimizer.load_state_dict(state["optimizer"])
    print(f"Resuming {path.parent} at step {state['step']}", flush=True)
    return int(state["step"])


def _rows(
    count: int, settings: LesionSettings, step: int
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return which slices a step sees: each epoch is a new order, and what is left over waits."""
    steps_an_epoch = count // settings.batch_size
    epoch, at = divmod(step, steps_an_epoch)
    order = np.random.default_rng([settings.seed, epoch]).permutation(count)
    return order[at * settings.batch_size : (at + 1) * settings.batch_size]


def _seed(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, step]).generate_state(1)[0])


def _show(bar: "tqdm[None]", shown: dict[str, float], parts: Mapping[str, float]) -> None:
    for name, value in parts.items():
        shown[name] = _AVERAGE * shown.get(name, value) + (1 - _AVERAGE) * value
    bar.set_postfix({name: f"{value:.2f}" for name, value in shown.items()}, refresh=False)
    bar.update()
