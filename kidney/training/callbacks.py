"""What makes a training that was killed end like one that was not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO

from kidney.files import whole_file

BEST = "best.ckpt"
LAST = "last.ckpt"


class SeedEachBatch(pl.Callback):
    """Draws for a batch depend on seed, epoch, batch and rank alone, so it can be repeated."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,  # noqa: ARG002  Lightning's signature
        batch: Any,  # noqa: ARG002
        batch_idx: int,
    ) -> None:
        """Seed torch before the batch is augmented."""
        place = [self.seed, trainer.current_epoch, batch_idx, trainer.global_rank]
        torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1)[0]))


class WholeCheckpoints(TorchCheckpointIO):
    """A checkpoint file appears whole or not at all, also when the process is killed."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Write beside the final name, then rename."""
        with whole_file(Path(path)) as temporary:
            super().save_checkpoint(checkpoint, temporary, storage_options)
