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

TRAINABLE = ("head", "tail", "network")
_WARM_UP = 0.2  # share of the steps


class KidneyTask(pl.LightningModule):
    """Cross-entropy on images of slices, or on what a frozen part of the network made of them.

    Args:
        backbone: timm's name of the network.
        weights: "hub", "none" or the path of a safetensors file.
        image_size: side in pixels to which the body is resized.
        stages: which feature maps of the backbone the head sees, timm's out_indices.
        trainable: "head" alone; "tail", the backbone behind its trunk too; or the whole "network".
        learning_rate: of the head, at the peak of the schedule, above 0.
        backbone_lr_scale: learning rate of the backbone as a share of the head's, 0 to 1.
        weight_decay: of AdamW, 0 or more.
        dropout: share of the pooled features that training hides from the head, 0 to below 1.
        classes: class names in the order of the outputs.
        lineage: plain values of a `Lineage`, kept in the checkpoint.
    """

    def __init__(
        self,
        backbone: str,
        weights: str,
        image_size: int,
        stages: Sequence[int],
        trainable: str,
        learning_rate: float,
        backbone_lr_scale: float,
        weight_decay: float,
        dropout: float,
        classes: Sequence[str],
        lineage: dict[str, Any],  # noqa: ARG002  kept by save_hyperparameters
    ) -> None:
        super().__init__()
        _check(weights, trainable, image_size)
        _check_numbers(learning_rate, backbone_lr_scale, weight_decay, dropout)
        self.save_hyperparameters()
        self.classifier = KidneyClassifier(
            backbone, weights, image_size, stages, dropout, len(classes)
        )
        if trainable == "tail" and not self.classifier.backbone.has_tail:
            raise ConfigError(
                f"Expected a backbone with a tail behind the first of two stages, but {backbone} "
                f"with model.stages={list(stages)} has none.",
                "Name two stages of a network that is a chain of blocks, or train the head or the "
                "whole network: model.trainable=head|network.",
            )
        self.trainable = trainable
        # Depthwise convolutions learn a quarter faster in this layout (measured on 2 cores).
        self.classifier.backbone.to(memory_format=torch.channels_last)
        self.classifier.backbone.requires_grad_(trainable == "network")
        if trainable == "tail":
            for value in self.classifier.backbone.tail_parameters():
                value.requires_grad_(True)
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.backbone_lr_scale = backbone_lr_scale
        self.train()  # Lightning trains in the mode that it finds
        count = len(classes)
        self.val_metrics = nn.ModuleDict(
            {
                "accuracy": MulticlassAccuracy(count, average="micro"),
                "balanced_accuracy": MulticlassAccuracy(count, average="macro"),
                "macro_auroc": MulticlassAUROC(count),
            }
        )

    def train(self, mode: bool = True) -> "KidneyTask":
        """Switch to training; what lies behind a frozen part is trained as it will be used.

        Norms then keep the figures that they have and nothing is dropped: the head sees features as
        they are.
        """
        super().train(mode)
        if self.trainable != "network":
            self.classifier.eval()
        return self

    def logits(self, batch: dict[str, Tensor]) -> Tensor:
        """Return logits (N, K) of a batch with prepared "images" or precomputed "features"."""
        return self.classifier.forward_head(embed_batch(self.classifier, batch))

    def _step(self, batch: dict[str, Tensor], stage: str) -> tuple[Tensor, Tensor]:
        logits = self.logits(batch)
        loss = nnf.cross_entropy(logits, batch["labels"])
        size = len(batch["labels"])
        self.log(f"{stage}_loss", loss, on_step=False, on_epoch=True, prog_bar=True,
                 batch_size=size, sync_dist=True)  # fmt: skip
        return loss, logits

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:  # noqa: ARG002
        """Return the loss of an augmented batch."""
        if "images" in batch:
            batch = {**batch, "images": augment(batch["images"])}
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
        """AdamW; the rate rises for a fifth of the steps and falls to nothing (Smith 2018)."""
        parts = [(self.classifier.head, 1.0), (self.classifier.backbone, self.backbone_lr_scale)]
        groups = [
            {"params": trained, "lr": self.learning_rate * share}
            for part, share in parts
            if (trained := [value for value in part.parameters() if value.requires_grad])
        ]
        optimizer = torch.optim.AdamW(groups, weight_decay=self.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=[self.learning_rate * share for _, share in parts][: len(groups)],
            total_steps=max(int(self.trainer.estimated_stepping_batches), 1),
            pct_start=_WARM_UP,
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def embed_batch(classifier: KidneyClassifier, batch: dict[str, Tensor]) -> Tensor:
    """Return embeddings (N, D) of a batch with prepared "images" or precomputed "features"."""
    if "features" in batch:
        return classifier.forward_tail(batch["features"])
    return classifier.embed(batch["images"])


def _check(weights: str, trainable: str, image_size: int) -> None:
    if trainable not in TRAINABLE:
        raise ConfigError(
            f"Expected model.trainable to be {', '.join(TRAINABLE)}, but got {trainable!r}.",
            "Override it: model.trainable=head.",
        )
    if trainable != "network" and weights == "none":
        raise ConfigError(
            "Expected a frozen backbone to have weights, but got model.weights=none: the features "
            "of a random network teach the head nothing.",
            "Give model.weights=hub or a file, or train it all: model.trainable=network.",
        )
    if isinstance(image_size, bool) or not isinstance(image_size, int) or image_size < 32:
        raise _out_of_range("image_size", "a whole number of at least 32", image_size)


def _check_numbers(
    learning_rate: float, backbone_lr_scale: float, weight_decay: float, dropout: float
) -> None:
    for name, value, least, below in (
        ("learning_rate", learning_rate, 1e-12, 1e6),
        ("backbone_lr_scale", backbone_lr_scale, 0, 1.000001),
        ("weight_decay", weight_decay, 0, 1e6),
        ("dropout", dropout, 0, 1),
    ):
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not least <= value < below
        ):
            raise _out_of_range(name, f"a number from {least:g} to below {below:g}", value)


def _out_of_range(name: str, expected: str, value: object) -> ConfigError:
    return ConfigError(
        f"Expected model.{name} to be {expected}, but got {value!r}.",
        f"Override it: model.{name}=NUMBER.",
    )
