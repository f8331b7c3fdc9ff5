"""Ratios of our parts to what they are made of, all measured in this run: make bench."""

from itertools import chain

import torch
from benchmarks.data import data_rows
from benchmarks.runtime import runtime_rows
from benchmarks.training import training_rows

from kidney.training.memory import keep_freed_memory


def main() -> None:
    """Print a Markdown table; a ratio above 1 means that ours is the faster one."""
    keep_freed_memory()
    torch.set_num_threads(2)
    rows = list(chain(data_rows(), training_rows(), runtime_rows()))
    print("| part | against | ratio |\n|---|---|---|")
    for part, against, ratio in rows:
        print(f"| {part} | {against} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
