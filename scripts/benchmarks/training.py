"""Training against what it is made of: a frozen backbone's features, and a bare PyTorch loop."""

import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from mlflow import MlflowClient
from omegaconf import DictConfig
from safetensors.torch import load_file, save_file
from timm import create_model
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.timing import Row, seconds
from kidney.data.split import Split
from kidney.models.augment import augment
from kidney.models.task import KidneyTask
from kidney.pipeline.data_stages import prepare
from kidney.pipeline.train import training_spec
from kidney.tracking.runs import run_of, start_run
from kidney.training.fit import fit

CONF = str(Path(__file__).parents[2] / "conf")
BACKBONE = "tf_efficientnet_lite0"
EPOCHS, FOLDS, RATES = 20, (0, 1), (1e-3, 3e-3, 1e-2)
SAME = {"rtol": 1e-2, "atol": 1e-2}  # of figures
STEPS = 24

Prepared = tuple[pd.DataFrame, Split]


def training_rows() -> Iterator[Row]:
    """Measure on a small phantom, with the fit that train.py makes."""
    with tempfile.TemporaryDirectory() as name:
        workspace = Path(name)
        prepared = prepare(_config(workspace))
        yield _fine_tuning(workspace, prepared)
        yield _sweep_of_heads(workspace, prepared)


def _config(workspace: Path, *overrides: str) -> DictConfig:
    sizes = {"scans_per_class": 5, "size": 256, "max_slices": 5}
    settings = [
        f"workspace={workspace}", "data=phantom", "model=lite0", "trainer=cpu", "num_workers=0",
        "batch_size=16", "split.validation_fold=2", "augmentations=0", "slices_per_scan=4",
        *(f"++data.fetch.{name}={value}" for name, value in sizes.items()),
    ]  # fmt: skip
    with initialize_config_dir(CONF, version_base="1.3"):
        return compose("config", overrides=[*settings, *overrides])


def _fit(cfg: DictConfig, prepared: Prepared, folder: Path) -> dict[str, float]:
    """Train as train.py does and return the figures that it logs."""
    spec = training_spec(cfg, *prepared)
    (fold,) = spec.validation_folds()
    fit(spec, fold, spec.lineage(), folder, start_run(spec.tracking, "benchmark", {}))
    client = MlflowClient(spec.tracking.uri)
    logged: dict[str, float] = client.get_run(run_of(folder)).data.metrics
    return {name: value for name, value in logged.items() if "val_" in name}


class Recomputing(KidneyTask):
    """The head of a frozen backbone, trained on images: the backbone runs again each epoch."""

    cache: Path  # where the sweep before has left what the locator has learned

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.trainable = "network"  # so the fit makes no features
        (learned,) = self.cache.glob("locator-*.safetensors")
        self.classifier.locator.load_state_dict(load_file(learned))
        self.train()

    def train(self, mode: bool = True) -> "Recomputing":
        """Keep the classifier as the head is trained on features: in evaluation mode."""
        super().train(mode)
        self.classifier.eval()
        return self

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:  # noqa: ARG002
        """Leave images as they are, for the features were."""
        return self._step(batch, "train")[0]


def _sweep_of_heads(workspace: Path, prepared: Prepared) -> Row:
    weights = workspace / "weights.safetensors"
    torch.manual_seed(0)
    values = create_model(BACKBONE).state_dict()
    save_file({name: value.contiguous() for name, value in values.items()}, weights)
    figures: dict[str, list[dict[str, float]]] = {}

    def sweep(task: str) -> None:
        settings = [f"model._target_={task}", f"model.weights={weights}"]
        figures[task] = [
            _fit(
                _config(
                    workspace, *settings, f"trainer.max_epochs={EPOCHS}",
                    "model.trainable=head", "model.image_size=224", f"split.fold={fold}",
                    f"model.learning_rate={rate}",
                ),
                prepared,
                workspace / task / f"{fold}-{rate}",
            )
            for fold in FOLDS
            for rate in RATES
        ]  # fmt: skip

    Recomputing.cache = workspace / "cache"
    ours, theirs = "kidney.models.task.KidneyTask", "benchmarks.training.Recomputing"
    once = seconds(lambda: sweep(ours), repeats=1)
    anew = seconds(lambda: sweep(theirs), repeats=1)
    for found, expected in zip(figures[ours], figures[theirs], strict=True):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, **SAME, err_msg=name)
    what = f"{len(RATES)} heads, {len(FOLDS)} folds, {EPOCHS} epochs on a frozen backbone"
    return Row(what, "the backbone anew each epoch, same figures", anew / once)


class StepByStep(pl.Callback):
    """Makes a step of a bare loop after each step of Lightning, and takes the time of both."""

    def __init__(self, bare: Iterator[None]) -> None:
        self.bare = bare
        self.began: float | None = None
        self.times: list[tuple[float, float]] = []  # of Lightning's step and of the bare one

    def on_train_epoch_start(self, *_: Any) -> None:
        """An epoch's first step has no step before it to be timed from."""
        self.began = None

    def on_train_batch_end(self, *_: Any) -> None:
        """Comes last of all callbacks."""
        ended = time.perf_counter()
        next(self.bare)
        now = time.perf_counter()
        if self.began is not None:
            self.times.append((ended - self.began, now - ended))
        self.began = now


class TimedTrainer(pl.Trainer):
    """Lightning's trainer as the fit makes it, with one callback more."""

    extra: pl.Callback

    def __init__(self, callbacks: Iterable[pl.Callback], **settings: Any) -> None:
        super().__init__(callbacks=[*callbacks, self.extra], **settings)


def _fine_tuning(workspace: Path, prepared: Prepared) -> Row:
    cfg = _config(
        workspace, "model.trainable=network", "model.weights=none", "model.image_size=128",
        "trainer._target_=benchmarks.training.TimedTrainer",
    )  # fmt: skip
    steps = StepByStep(_bare_steps(cfg, prepared))
    TimedTrainer.extra = steps
    epoch = len(_training_batches(cfg, prepared))
    cfg.trainer.max_epochs = -(-STEPS // (epoch - 1))
    _fit(cfg, prepared, workspace / "fine-tuned")
    ours, bare = np.array(steps.times).T
    print(f"{len(ours)} steps, {np.median(bare) * 1000:.0f} ms each in the bare loop", flush=True)
    return Row("steps/s of a fine-tuning", "a bare PyTorch loop", float(np.median(bare / ours)))


def _training_batches(cfg: DictConfig, prepared: Prepared) -> Any:
    spec = training_spec(cfg, *prepared)
    data = spec.datamodule(spec.validation_folds()[0])
    data.setup()
    return data.train_dataloader()


def _bare_steps(cfg: DictConfig, prepared: Prepared) -> Iterator[None]:
    """Train as KidneyTask does, in the words of PyTorch alone; yield after each step."""
    task = instantiate(cfg.model, classes=list(cfg.data.classes), lineage={}, _convert_="all")
    model = task.classifier.train()
    rates = {model.head: 1.0, model.backbone: cfg.model.backbone_lr_scale}
    optimizer = torch.optim.AdamW(
        [
            {"params": list(part.parameters()), "lr": cfg.model.learning_rate * share}
            for part, share in rates.items()
        ],
        weight_decay=cfg.model.weight_decay,
    )
    batches = _training_batches(cfg, prepared)
    total = 0.0
    while True:
        for batch in batches:
            optimizer.zero_grad()
            logits = model.forward_head(model.embed(augment(batch["images"])))
            loss = cross_entropy(logits, batch["labels"])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), cfg.trainer.gradient_clip_val)
            optimizer.step()
            total += float(loss.detach())
            yield
