"""What makes a training that was killed end like one that was not."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO

from kidney.files import whole_file

BEST = "best.ckpt"
LAST = "last.ckpt"


class SeedEachEpoch(pl.Callback):
    """Draws of an epoch depend on seed and epoch alone, so an epoch can be repeated."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Seed torch before the first batch."""
        torch.manual_seed(self.seed + 1000 * trainer.current_epoch + trainer.global_rank)


class WholeCheckpoints(TorchCheckpointIO):
    """A checkpoint file appears whole or not at all, also when the process is killed."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Write beside the final name, then rename."""
        with whole_file(Path(path)) as temporary:
            super().save_checkpoint(checkpoint, temporary, storage_options)
