"""score.py against onnxruntime alone, and its memory with many slices against that with few."""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import torch
from loky import cpu_count

from benchmarks.export import composed, plain_card
from benchmarks.timing import Row, seconds
from kidney.artifact.predictor import Predictor
from kidney.data.phantom.files import write_dicom_series
from kidney.data.phantom.scan import generate_scan
from kidney.export.onnx import to_onnx, write_onnx
from kidney.imaging.slices import read_slices
from kidney.imaging.windows import ABDOMEN
from kidney.models.classifier import KidneyClassifier

SCORE = [sys.executable, str(Path(__file__).parents[1] / "score.py")]
TIMED = 6_000  # slices
FEW, MANY = 5_000, 100_000
_DIFFERENT = 32  # files; all others are links to them
_IN_A_FOLDER = 500
_LOOK_SECONDS = 0.2


def scoring_rows() -> Iterator[Row]:
    """Measure on DICOM slices of 512 x 512 of the phantom.

    onnxruntime alone is one session with all cores that gets decoded slices in the batches that
    suit it best, before and after score.py, which reads, decodes and writes as well. Its rate is
    from the first file to the last: to start Ray takes some seconds more, once. Memory is what all
    its processes hold together (PSS), with a network that is over at once.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scan = generate_scan(0, "stone", size=512, max_slices=_DIFFERENT)
        files = write_dicom_series(folder / "series", scan)
        lite0 = _model("lite0", folder / "lite0.onnx")
        slices = [slice_ for file in files for slice_ in read_slices(file, ABDOMEN, file.name)]
        predictor = Predictor(lite0, threads=cpu_count())

        def alone() -> float:
            """Return slices a second."""
            return max(_rate(predictor, slices, batch) for batch in (1, 8, 32))

        before = alone()
        archive = _archive(files, TIMED, folder / "timed")
        ours = _scored(archive, lite0, folder / "scores").rate
        against = (before + alone()) / 2
        yield Row(f"DICOM slices scored, {ours:.0f} slices/s", "onnxruntime alone", ours / against)
        tiny = _model("tiny", folder / "tiny.onnx")
        few, many = (
            _scored(_archive(files, count, folder / f"{count}"), tiny, folder / f"out-{count}").peak
            for count in (FEW, MANY)
        )
        yield Row(
            f"peak memory at {MANY:,} slices, {many / 2**20:.0f} MiB",
            f"at {FEW:,}, {few / 2**20:.0f} MiB",
            few / many,
        )


class _Scored:
    """What a run of score.py showed: slices a second, and the most bytes of all its processes."""

    def __init__(self, rate: float, peak: int) -> None:
        self.rate, self.peak = rate, peak


def _scored(archive: Path, model: Path, out: Path) -> _Scored:
    peak = 0
    command = [*SCORE, str(archive), "--model", str(model), "--out", str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            peak = max(peak, _memory(process.pid))
            time.sleep(_LOOK_SECONDS)
        said = process.stdout.read()
    found = re.search(r"([\d.]+)/s", said)
    if process.returncode or not found:
        sys.exit(f"Expected score.py to end well, but it said: {said}")
    return _Scored(float(found[1]), peak)


def _memory(pid: int) -> int:
    """Return the PSS of a process and all that it has started, in bytes."""
    total = 0
    try:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            total += process.memory_full_info().pss
    except psutil.Error:  # one has just ended
        pass
    return total


def _rate(predictor: Predictor, slices: list, batch: int) -> float:
    batches = [slices[start : start + batch] for start in range(0, len(slices), batch)]
    return len(slices) / seconds(lambda: [predictor.predict(some) for some in batches])


def _archive(files: list[Path], count: int, folder: Path) -> Path:
    """Fill a folder with links to a few files."""
    for number in range(count):
        below = folder / f"{number // _IN_A_FOLDER:04}"
        below.mkdir(parents=True, exist_ok=True)
        os.link(files[number % len(files)], below / f"{number:06}.dcm")
    return folder


def _model(name: str, path: Path) -> Path:
    """Write a network with random weights: they cost as much time as trained ones."""
    cfg = composed(f"model={name}").model
    torch.manual_seed(0)
    classes = ("normal", "cyst", "tumor", "stone")
    classifier = KidneyClassifier(
        cfg.backbone, "none", cfg.image_size, cfg.stages, 0.0, len(classes)
    ).eval()
    write_onnx(to_onnx(classifier), plain_card(classifier, cfg.backbone, classes), path)
    return path
