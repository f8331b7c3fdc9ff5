"""Ratios of our parts to what they are made of, all measured in this run: make bench."""

import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from kidney.data.cache import open_cache
from kidney.data.ingest import ingest
from kidney.data.manifest import read_manifest
from kidney.data.phantom_files import write_class_folders
from kidney.data.sources import fetch
from kidney.imaging.pictures import decode_picture
from kidney.models.checkpoint import load_checkpoint
from kidney.predictor import Predictor
from kidney.training.memory import keep_freed_memory

CLASSES = {"normal": "Normal", "cyst": "Cyst", "tumor": "Tumor", "stone": "Stone"}
ROOT = Path("demo")


def main() -> None:
    """Print a Markdown table of ratios."""
    artifact = ROOT / "artifacts/kidney.onnx"
    checkpoints = sorted(ROOT.glob("runs/*/best.ckpt"))
    if not artifact.is_file() or not checkpoints:
        sys.exit("Expected the demo's model and data below demo/. Run make demo first.")
    keep_freed_memory()
    torch.set_num_threads(2)
    rows = [_ingest_against_decoding(), _runtime_against_torch(artifact, checkpoints[-1])]
    print("| part | against | ratio |\n|---|---|---|")
    for part, against, ratio in rows:
        print(f"| {part} | {against} | {ratio:.2f} |")


def _ingest_against_decoding() -> tuple[str, str, float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "source"
        source.mkdir()
        write_class_folders(source, scans_per_class=4)
        files = [path.read_bytes() for path in source.glob("[CNST]*/*.jpg")]
        bare = _seconds(lambda: [decode_picture(data) for data in files])
        settings = {"origin": "phantom", "classes": CLASSES, "ignore": ["masks"]}
        copy = partial(fetch, source=str(source))
        whole = _seconds(lambda: ingest(folder / "set", fetch=copy, **settings))
        slices = read_manifest(folder / "set")
        assert len(open_cache(folder / "set", slices)) == len(files)
    return "ingest with scans and cache, slices/s", "decoding alone, one thread", bare / whole


def _runtime_against_torch(artifact: Path, checkpoint: Path) -> tuple[str, str, float]:
    predictor = Predictor(artifact, threads=2)
    classifier, _ = load_checkpoint(checkpoint)
    slice_ = np.zeros((512, 512), dtype=np.uint8)
    tensor = torch.from_numpy(slice_)[None, None]
    with torch.inference_mode():
        eager = _seconds(lambda: [classifier(tensor) for _ in range(20)])
    ours = _seconds(lambda: [predictor.predict([slice_]) for _ in range(20)])
    return "one slice through onnxruntime, slices/s", "torch eager, same network", eager / ours


def _seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """Return the median time of `work`."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return float(np.median(times))


if __name__ == "__main__":
    main()
