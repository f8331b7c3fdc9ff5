"""Ratios of our parts to what they are made of, all measured in this run: make bench.

python scripts/benchmark.py [data] [training] [export] [runtime] [http] [scoring]
    [--data FOLDER] [--weights FOLDER] [--artifact FILE] [--checkpoint FILE]
    [--out PAGE.md]
"""

import argparse
import sys
from functools import partial
from pathlib import Path

import torch
from benchmarks.data import data_rows
from benchmarks.export import export_rows
from benchmarks.http import http_rows
from benchmarks.page import page
from benchmarks.runtime import ROOT, runtime_rows
from benchmarks.scoring import scoring_rows
from benchmarks.training import training_rows

from kidney.files import write_text
from kidney.tracking.runs import code_version
from kidney.training.fit import keep_freed_memory

PARTS = ("data", "training", "export", "runtime", "http", "scoring")


def main() -> None:
    """Print each row as it is measured: who stops the others has it. The page comes at the end."""
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
    parser.add_argument("--out", type=Path, help="a page for what is measured now")
    arguments = parser.parse_args()
    parts = arguments.parts or list(PARTS)
    if unknown := sorted(set(parts) - set(PARTS)):
        parser.error(f"expected parts among {', '.join(PARTS)}, but got {', '.join(unknown)}")
    keep_freed_memory()
    torch.set_num_threads(2)
    of_demo = next(iter(sorted(ROOT.glob("runs/*/model.ckpt"), reverse=True)), None)
    measures = {
        "data": data_rows,
        "training": training_rows,
        "export": partial(export_rows, arguments.data, arguments.weights),
        "runtime": runtime_rows,
        "http": partial(http_rows, arguments.artifact, arguments.checkpoint or of_demo),
        "scoring": scoring_rows,
    }
    commit, rows = code_version(), []
    for part in parts:
        for row in measures[part]():
            print(f"{part}: {row.part} / {row.against}: {row.ratio:.2f}", flush=True)
            rows.append((part, row))
    if arguments.out:
        write_text(arguments.out, page(rows, commit, sys.argv[1:]))


if __name__ == "__main__":
    main()
