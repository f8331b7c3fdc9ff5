"""An archive to its results: what is missing is scored, what is there is kept."""

import platform
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain
from pathlib import Path

from tqdm import tqdm

from kidney.artifact.card import ModelCard
from kidney.artifact.predictor import check_artifact
from kidney.errors import ConfigError, DataError
from kidney.files import sha256 as sha256_of
from kidney.imaging.deidentify import pseudonym, read_key
from kidney.imaging.windows import window_named
from kidney.remote.object_store import is_object
from kidney.scoring.listing import Chunk, chunks, list_archive
from kidney.scoring.ray_engine import engine, score_chunks
from kidney.scoring.results import SLICES, Results
from kidney.scoring.scorer import Job

_LIBRARIES = ("kidney-tumor-identification", "numpy", "onnxruntime", "pyarrow", "pydicom", "ray")
_LOG_SECONDS = 30.0  # between two lines where stderr is no terminal


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    slices: int  # all that are in the results
    kept: int  # of these, scored by a run before
    errors: Counter[str]  # files of each kind of bad
    rate: float  # slices a second, from the first file that was begun to the last one that was done

    def __str__(self) -> str:
        kept = f" ({self.kept:,} of them before)" if self.kept else ""
        bad = self.errors.total()
        return f"{self.slices:,} slices{kept}, bad files: {bad:,}, {self.rate:.1f}/s"


def score(
    archive: str,
    out: str,
    model: Path,
    *,
    window: str | None = None,
    address: str | None = None,
) -> Outcome:
    """Score every slice of an archive, with progress on stderr; go on where a run was cut off.

    Args:
        out: a folder or s3://BUCKET/FOLDER. It gets slices/ and errors/ with Parquet files,
            summary.json once all is done, and, where KIDNEY_SALT is unset, the key `salt` of the
            pseudonyms.
        window: name or WIDTH/LEVEL in HU; None: that of the model's card.

    Raises:
        KidneyError: no such archive, model, window, cluster or folder; or the results there are of
            another archive or model.
    """
    card, sha256 = check_artifact(model), sha256_of(model)
    shown = window_named(window) if window else card.window.window
    source, out = _absolute(archive), _absolute(out)
    if f"{out}/".startswith(f"{source}/"):
        raise ConfigError(
            f"Expected the results outside of the archive {source}, but got {out}.",
            "Give another --out: the next run would take them for files of the archive.",
        )
    key = read_key(None if is_object(out) else Path(out))
    identity = {
        "archive": source,
        "model": sha256,
        "window": str(shown),
        "key": pseudonym(key, "the key of these results"),
    }
    results = Results(out, card, sha256)
    files = list_archive(source)
    if (first_file := next(files, None)) is None:  # a disk that is not there, more often than not
        raise DataError(
            f"Expected files in {source}, but there is none.", "See that the path is right."
        )
    results.claim(identity)
    done, known = results.done(), set[str]()
    totals: Counter[str] = Counter()
    kept = 0

    def missing() -> Iterator[Chunk]:
        nonlocal kept
        for chunk in chunks(chain([first_file], files), " ".join(identity.values())):
            if chunk.id in known:  # a list may name the same files again
                continue
            known.add(chunk.id)
            if chunk.id not in done:
                yield chunk
                continue
            counts = results.counts(chunk.id)
            totals.update(counts)
            kept += counts[SLICES]

    began, ended = float("inf"), 0.0
    to_do = missing()
    if first := next(to_do, None):  # where all is done, nothing has to start
        results.begin()
        every = 0.1 if sys.stderr.isatty() else _LOG_SECONDS
        with engine(address) as workers, tqdm(unit=" slices", mininterval=every) as bar:
            job = Job(str(shown), key, out)
            for scored in score_chunks(chain([first], to_do), workers, model.read_bytes(), job):
                totals.update(scored.counts)
                began, ended = min(began, scored.began), max(ended, scored.ended)
                bar.set_postfix({"bad files": totals.total() - totals[SLICES]}, refresh=False)
                bar.update(scored.counts[SLICES])
    slices = totals.pop(SLICES, 0)
    outcome = Outcome(slices, kept, totals, (slices - kept) / max(ended - began, 1e-9))
    results.finish(known, _summary(identity, card, outcome, len(known)))
    return outcome


def _absolute(path: str) -> str:
    return path.rstrip("/") if is_object(path) else str(Path(path).absolute())


def _summary(
    identity: dict[str, str], card: ModelCard, outcome: Outcome, count: int
) -> dict[str, object]:
    libraries = {name: version(name) for name in _LIBRARIES}
    return {
        **identity,
        "run": card.run,
        "classes": list(card.classes),
        "chunks": count,
        "slices": outcome.slices,
        "errors": dict(sorted(outcome.errors.items())),
        "versions": {"python": platform.python_version(), **libraries},
    }
