"""How the classifier learns: one step, written once."""

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as nnf
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy, MulticlassAUROC

from kidney.errors import ConfigError
from kidney.models.augment import augment
from kidney.models.classifier import KidneyClassifier


class KidneyTask(pl.LightningModule):
    """Cross-entropy on slices, or on features where the backbone is frozen.

    Args:
        backbone: timm's name of the network.
        weights: "hub", "none" or the path of a safetensors file.
        image_size: side in pixels to which slices are resized.
        frozen: train the head alone.
        learning_rate: peak of the cosine schedule, above 0.
        weight_decay: of AdamW, 0 or more.
        classes: class names in the order of the outputs.
        lineage: what the checkpoint must remember of data, split, code and run; primitives only.
    """

    def __init__(
        self,
        backbone: str,
        weights: str,
        image_size: int,
        frozen: bool,
        learning_rate: float,
        weight_decay: float,
        classes: Sequence[str],
        lineage: dict[str, Any],  # noqa: ARG002  kept by save_hyperparameters
    ) -> None:
        super().__init__()
        _check(weights, frozen, learning_rate, weight_decay, image_size)
        self.save_hyperparameters()
        self.classifier = KidneyClassifier(backbone, weights, image_size, len(classes))
        self.classifier.backbone.requires_grad_(not frozen)
        self.frozen = frozen
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        count = len(classes)
        self.val_metrics = nn.ModuleDict(
            {
                "accuracy": MulticlassAccuracy(count, average="micro"),
                "balanced_accuracy": MulticlassAccuracy(count, average="macro"),
                "macro_auroc": MulticlassAUROC(count),
            }
        )

    def train(self, mode: bool = True) -> "KidneyTask":
        """Switch to training; a frozen backbone stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.classifier.backbone.eval()
        return self

    def logits(self, batch: dict[str, Tensor]) -> Tensor:
        """Return logits (N, K) of a batch with "slices" or with precomputed "features"."""
        features = batch.get("features")
        pooled = self.classifier.pooled(batch["slices"]) if features is None else features
        out: Tensor = self.classifier.head(pooled)
        return out

    def _step(self, batch: dict[str, Tensor], stage: str) -> tuple[Tensor, Tensor]:
        logits = self.logits(batch)
        loss = nnf.cross_entropy(logits, batch["labels"])
        size = len(batch["labels"])
        self.log(f"{stage}_loss", loss, on_step=False, on_epoch=True, prog_bar=True,
                 batch_size=size, sync_dist=True)  # fmt: skip
        return loss, logits

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:  # noqa: ARG002
        """Return the loss of an augmented batch."""
        if "slices" in batch:
            batch = {**batch, "slices": augment(batch["slices"])}
        return self._step(batch, "train")[0]

    def validation_step(self, batch: dict[str, Tensor], index: int) -> None:  # noqa: ARG002
        """Collect loss and metrics."""
        _, logits = self._step(batch, "val")
        probabilities = logits.float().softmax(dim=1)
        for name, metric in self.val_metrics.items():
            assert isinstance(metric, Metric)
            metric.update(probabilities, batch["labels"])
            self.log(f"val_{name}", metric, on_epoch=True, prog_bar=name == "macro_auroc")

    def configure_optimizers(self) -> Any:
        """AdamW with a cosine schedule over the whole training, a step an epoch."""
        parameters = [p for p in self.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(
            parameters, lr=self.learning_rate, weight_decay=self.weight_decay
        )
        epochs = max(self.trainer.max_epochs or 1, 1)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)
        return {"optimizer": optimizer, "lr_scheduler": schedule}


def _check(
    weights: str, frozen: bool, learning_rate: float, weight_decay: float, image_size: int
) -> None:
    if frozen and weights == "none":
        raise ConfigError(
            "Expected a frozen backbone to have weights, but got model.weights=none: the features "
            "of a random network teach the head nothing.",
            "Give model.weights=hub or a file, or train the whole network: model.frozen=false.",
        )
    for name, value, least in (
        ("learning_rate", learning_rate, 1e-12),
        ("weight_decay", weight_decay, 0),
    ):
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not least <= value < 1e6
        ):
            raise _out_of_range(name, f"a number of at least {least}", value)
    if isinstance(image_size, bool) or not isinstance(image_size, int) or image_size < 32:
        raise _out_of_range("image_size", "a whole number of at least 32", image_size)


def _out_of_range(name: str, expected: str, value: object) -> ConfigError:
    return ConfigError(
        f"Expected model.{name} to be {expected}, but got {value!r}.",
        f"Override it: model.{name}=NUMBER.",
    )
