"""What a row of the table is, and how long a piece of work takes."""

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Row(NamedTuple):
    """One line of the table: a ratio above 1 means that ours is the faster one."""

    part: str
    against: str
    ratio: float


def seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """Return the median time of `work`."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return float(np.median(times))
