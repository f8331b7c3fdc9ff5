"""Ratios of our parts to what they are made of, all measured in this run: make bench.

python scripts/benchmark.py [data] [training] [runtime] [export] [--data FOLDER] [--weights FOLDER]
"""

import argparse
from itertools import chain
from pathlib import Path

import torch
from benchmarks.data import data_rows
from benchmarks.export import export_table
from benchmarks.runtime import runtime_rows
from benchmarks.training import training_rows

from kidney.training.memory import keep_freed_memory

RATIOS = {"data": data_rows, "training": training_rows, "runtime": runtime_rows}
PARTS = (*RATIOS, "export")


def main() -> None:
    """Print Markdown tables; a ratio above 1 means that ours is the faster one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all")
    parser.add_argument("--data", type=Path, help="of export: an ingested folder")
    parser.add_argument(
        "--weights", type=Path, help="of export: a folder of BACKBONE-*.safetensors"
    )
    arguments = parser.parse_args()
    parts = arguments.parts or list(PARTS)
    if unknown := sorted(set(parts) - set(PARTS)):
        parser.error(f"expected parts among {', '.join(PARTS)}, but got {', '.join(unknown)}")
    keep_freed_memory()
    if set(parts) & set(RATIOS):
        print("| part | against | ratio |\n|---|---|---|", flush=True)
    torch.set_num_threads(2)
    # Each row as it is measured: who stops the others has it.
    rows = chain.from_iterable(RATIOS[part]() for part in parts if part in RATIOS)
    for part, against, ratio in rows:
        print(f"| {part} | {against} | {ratio:.2f} |", flush=True)
    if "export" in parts:
        for line in export_table(arguments.data, arguments.weights):
            print(line, flush=True)


if __name__ == "__main__":
    main()
