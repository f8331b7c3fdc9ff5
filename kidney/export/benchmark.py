"""Time and memory of a file, measured in a process of its own.

python -m kidney.export.benchmark FILE [FILE ...] prints it as JSON, a list with one entry a file.
"""

import argparse
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
from pydantic import TypeAdapter

from kidney.artifact.card import Benchmark
from kidney.artifact.predictor import Predictor

_SIDE = 512  # pixels: what CT has
_THREADS = 2
_WARM_UP, _ROUNDS = 3, 30
_LIST = TypeAdapter(list[Benchmark])


def benchmark(paths: Sequence[Path]) -> list[Benchmark]:
    """Measure files in a fresh process, in turns, so that a busy machine slows all of them alike.

    Returns:
        For each file the median and the 95th percentile of the time of one slice of 512 x 512
        (`milliseconds`, `milliseconds_95`), `size_mb`, `machine`, `threads`, `onnxruntime`; and for
        a single file `peak_memory_mb`, what the process grew to by it, MB of 10^6 bytes.
    """
    command = [sys.executable, "-m", "kidney.export.benchmark", *map(str, paths)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return _LIST.validate_json(done.stdout)


def measure(paths: Sequence[Path]) -> list[Benchmark]:
    """Measure files in this process; see `benchmark`."""
    threads = min(_THREADS, os.cpu_count() or 1)
    slice_ = np.random.default_rng(0).integers(0, 256, (_SIDE, _SIDE), dtype=np.uint8)
    before = _peak_memory()
    predictors = [Predictor(path, threads) for path in paths]
    times: list[list[float]] = [[] for _ in paths]
    for number in range(_WARM_UP + _ROUNDS):
        for predictor, of_file in zip(predictors, times, strict=True):
            began = time.perf_counter()
            predictor.predict([slice_])
            if number >= _WARM_UP:
                of_file.append(time.perf_counter() - began)
    grown = _peak_memory() - before
    return [
        Benchmark(
            milliseconds=round(float(np.median(of_file)) * 1e3, 2),
            milliseconds_95=round(float(np.quantile(of_file, 0.95)) * 1e3, 2),
            size_mb=round(path.stat().st_size / 1e6, 2),
            peak_memory_mb=round(grown / 1e6, 1) if len(paths) == 1 else None,
            slice=(_SIDE, _SIDE),
            threads=threads,
            machine=_machine(),
            onnxruntime=onnxruntime.__version__,
        )
        for path, of_file in zip(paths, times, strict=True)
    ]


def _peak_memory() -> int:
    """Return the most bytes that this process has held in memory so far."""
    status = Path("/proc/self/status")
    if status.is_file():  # what getrusage says there began with the process that started this one
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _machine() -> str:
    """Name the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    sys.stdout.buffer.write(_LIST.dump_json(measure(parser.parse_args().files)))
