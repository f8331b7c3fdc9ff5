"""Real slices for the verification of an export."""

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig

from kidney.data.cache import open_cache
from kidney.data.manifest import read_manifest
from kidney.training.stages import data_folder

_EACH = 2


def example_slices(cfg: DictConfig) -> list[NDArray[np.uint8]]:
    """Return a few slices of every label and every size of the data set."""
    slices = read_manifest(data_folder(cfg))
    cache = open_cache(data_folder(cfg), slices)
    chosen = slices.groupby(["label", "height", "width"]).head(_EACH).index
    return [np.array(cache[row]) for row in chosen]
