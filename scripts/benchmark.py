"""Ratios of our parts to what they are made of, all measured in this run: make bench.

python scripts/benchmark.py [data] [training] [runtime] [http] [scoring] [export] [--data FOLDER]
    [--weights FOLDER] [--artifact FILE] [--checkpoint FILE]
"""

import argparse
from functools import partial
from itertools import chain
from pathlib import Path

import torch
from benchmarks.data import data_rows
from benchmarks.export import export_table
from benchmarks.http import http_rows
from benchmarks.runtime import ROOT, runtime_rows
from benchmarks.scoring import scoring_rows
from benchmarks.training import training_rows

from kidney.training.memory import keep_freed_memory

RATIOS = {
    "data": data_rows, "training": training_rows, "runtime": runtime_rows, "http": http_rows,
    "scoring": scoring_rows,
}  # fmt: skip
PARTS = (*RATIOS, "export")


def main() -> None:
    """Print Markdown tables; a ratio above 1 means that ours is the faster one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all")
    parser.add_argument("--data", type=Path, help="of export: an ingested folder")
    parser.add_argument(
        "--weights", type=Path, help="of export: a folder of BACKBONE-*.safetensors"
    )
    parser.add_argument(
        "--artifact", type=Path, default=ROOT / "artifacts/kidney.onnx", help="of http"
    )
    parser.add_argument("--checkpoint", type=Path, help="of http: what the artifact was made from")
    arguments = parser.parse_args()
    parts = arguments.parts or list(PARTS)
    if unknown := sorted(set(parts) - set(PARTS)):
        parser.error(f"expected parts among {', '.join(PARTS)}, but got {', '.join(unknown)}")
    keep_freed_memory()
    if set(parts) & set(RATIOS):
        print("| part | against | ratio |\n|---|---|---|", flush=True)
    torch.set_num_threads(2)
    # Each row as it is measured: who stops the others has it.
    of_demo = next(iter(sorted(ROOT.glob("runs/*/best.ckpt"), reverse=True)), None)
    measures = {
        **RATIOS,
        "http": partial(http_rows, arguments.artifact, arguments.checkpoint or of_demo),
    }
    rows = chain.from_iterable(measures[part]() for part in parts if part in RATIOS)
    for part, against, ratio in rows:
        print(f"| {part} | {against} | {ratio:.2f} |", flush=True)
    if "export" in parts:
        for line in export_table(arguments.data, arguments.weights):
            print(line, flush=True)


if __name__ == "__main__":
    main()
