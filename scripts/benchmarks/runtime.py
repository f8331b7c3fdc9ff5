"""onnxruntime against torch, with the same network."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from benchmarks.timing import Row, seconds
from kidney.artifact.predictor import Predictor
from kidney.models.checkpoint import load_checkpoint

ROOT = Path("demo")


def runtime_rows() -> Iterator[Row]:
    """Measure on the model of the demo."""
    artifact = ROOT / "artifacts/kidney.onnx"
    checkpoints = sorted(ROOT.glob("runs/*/model.ckpt"))
    if not artifact.is_file() or not checkpoints:
        sys.exit("Expected the demo's model and data below demo/. Run make demo first.")
    predictor = Predictor(artifact, threads=2)
    classifier = load_checkpoint(checkpoints[-1]).model
    slice_ = np.zeros((512, 512), dtype=np.uint8)
    tensor = torch.from_numpy(slice_)[None, None]
    with torch.inference_mode():
        eager = seconds(lambda: [classifier(tensor) for _ in range(20)])
    ours = seconds(lambda: [predictor.predict([slice_]) for _ in range(20)])
    yield Row("one slice through onnxruntime, slices/s", "torch eager", eager / ours)
