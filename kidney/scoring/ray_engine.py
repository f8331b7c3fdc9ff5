"""Ray Data does the work: on this machine, or on the cluster at an address."""

import json
import logging
import os
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

# Read when ray is imported.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_worker_niceness", "0")  # at 15, its default, all else goes first

import ray
import ray.data
from loky import cpu_count  # type: ignore[import-untyped]

from kidney.errors import DataError, KidneyError
from kidney.scoring.listing import Chunk
from kidney.scoring.scorer import Job, Scorer

_STORE_BYTES = 80 * 2**20  # only chunks of names and counts go through it, and the model once
_CHUNKS_A_WORKER = 1024  # of one execution, so that what Ray Data remembers of it does not grow


@contextmanager
def engine(address: str | None) -> Iterator[int]:
    """Start Ray on this machine, or join a cluster; yield how many workers it has room for.

    Args:
        address: None: this machine alone; "auto" or HOST:PORT: the cluster whose head is there.
            Its machines need the dependencies; this package travels to them.

    Raises:
        DataError: there is no cluster at the address.
    """
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    common: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        if address:
            package = {"py_modules": [str(Path(__file__).parents[1])]}
            ray.init(address, runtime_env=package, **common)
        else:
            # Nobody else may hand work to it; without one, Ray puts a token into the home folder.
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
            ray.init(
                "local",
                num_cpus=cpu_count(),
                include_dashboard=False,
                object_store_memory=_STORE_BYTES,
                **common,
            )
    except ConnectionError as error:
        raise DataError(
            f"Expected a Ray cluster at {address}, but none answers.",
            "Start it with ray start --head and give its token (RAY_AUTH_MODE=token and "
            "RAY_AUTH_TOKEN), or leave --address out to score on this machine.",
        ) from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    try:
        yield int(ray.cluster_resources().get("CPU", 1))  # type: ignore[no-untyped-call]
    finally:
        ray.shutdown()


class Scored(NamedTuple):
    """What came of a chunk; began and ended in seconds since 1970."""

    counts: Counter[str]
    began: float
    ended: float


def score_chunks(chunks: Iterable[Chunk], workers: int, model: bytes, job: Job) -> Iterator[Scored]:
    """Yield what came of each chunk, in the order in which they are done.

    Chunks are taken as they are needed; each worker has a core.

    Raises:
        KidneyError: as a worker raised it.
    """
    chunks = iter(chunks)
    stored = ray.put(model)
    while some := list(islice(chunks, workers * _CHUNKS_A_WORKER)):
        data = ray.data.from_items(
            [{"chunk": json.dumps(chunk)} for chunk in some], override_num_blocks=len(some)
        ).map(
            _Worker,  # type: ignore[arg-type]  # Ray calls what it makes of the class
            fn_constructor_args=(stored, job),
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(some))),
            num_cpus=1,
        )
        try:
            for row in data.iter_rows():
                yield Scored(Counter(json.loads(row["counts"])), row["began"], row["ended"])
        except Exception as error:
            raise _of_the_worker(error) from error


class _Worker(Scorer):
    """A scorer whose model came through Ray's store."""

    def __init__(self, model: Any, job: Job) -> None:
        super().__init__(ray.get(model), job)


def _of_the_worker(error: BaseException) -> BaseException:
    """Return the error for people that a worker raised, if it was one."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, KidneyError):
            return link
        link = getattr(link, "cause", None) or link.__cause__
    return error
