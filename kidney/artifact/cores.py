"""How many cores this process really has: those it may run on, or the share a container gives."""

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def cores(cgroup: Path = _CGROUP) -> int:
    """Return how many threads can compute at a time, 1 or more.

    Args:
        cgroup: where the limits of this process's control group lie, of version 2 or 1.
    """
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
    else:
        allowed = os.cpu_count() or 1
    return max(1, math.ceil(min(allowed, _share(cgroup))))


def _share(cgroup: Path) -> float:
    """Return what `docker run --cpus` and the like have set, in cores; infinity: nothing."""
    try:
        if (cgroup / "cpu.max").is_file():
            quota, period = (cgroup / "cpu.max").read_text().split()
        else:
            quota, period = (
                (cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period")
            )
        share = float(quota) / float(period)  # "max", or -1 in version 1, means no limit
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf
    return share if share > 0 else math.inf
