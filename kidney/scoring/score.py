"""An archive to its results: what is missing is scored, what is there is kept."""

import json
import platform
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

from kidney.artifact.card import ModelCard
from kidney.artifact.predictor import check_artifact
from kidney.errors import ConfigError, DataError
from kidney.files import sha256 as sha256_of
from kidney.imaging.deidentify import pseudonym, read_key
from kidney.imaging.windows import Window, window_named
from kidney.remote.object_store import is_s3
from kidney.scoring.listing import Chunk, chunks, list_archive
from kidney.scoring.progress import Progress
from kidney.scoring.ray_engine import engine, score_chunks
from kidney.scoring.results import SLICES, Results
from kidney.scoring.storage import Place

_LIBRARIES = ("kidney-tumor-identification", "numpy", "onnxruntime", "pyarrow", "pydicom", "ray")


def score(
    archive: str,
    out: str,
    model: Path,
    *,
    window: str | None = None,
    address: str | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score every slice of an archive; go on where a run before was cut off.

    Args:
        archive: see `list_archive`.
        out: a folder or s3://BUCKET/FOLDER. It gets slices/ and errors/ with Parquet files,
            summary.json once all is done, and, where KIDNEY_SALT is unset, the key `salt` of the
            pseudonyms.
        model: the kidney.onnx.
        window: name or WIDTH/LEVEL in HU; None: that of the model's card.
        address: see `engine`.
        progress: told of what is done.

    Returns:
        The summary.

    Raises:
        KidneyError: no such archive, model, window, cluster or folder; or the results there are of
            another archive or model.
    """
    progress = progress or Progress()
    card, sha256 = check_artifact(model), sha256_of(model)
    shown = _window(card, window)
    source, out = _whole(archive), _whole(out)
    if f"{out}/".startswith(f"{source}/"):
        raise ConfigError(
            f"Expected the results outside of the archive {source}, but got {out}.",
            "Give another --out: the next run would take them for files of the archive.",
        )
    place = Place(out)
    key = read_key(place.folder)
    belongs = {
        "archive": source,
        "model": sha256,
        "window": str(shown),
        "key": pseudonym(key, "the key of these results"),
    }
    results = Results(place, card, sha256)
    listing = list_archive(source)
    listing = chain([_first(listing, source)], listing)
    results.claim(belongs)
    done, known = results.done(), set[str]()

    def missing() -> Iterator[Chunk]:
        for chunk in chunks(listing, " ".join(belongs.values())):
            if chunk.id in known:  # a list may name the same files again
                continue
            known.add(chunk.id)
            if chunk.id in done:
                progress.keep(results.counts(chunk.id))
            else:
                yield chunk

    to_do = missing()
    if first := next(to_do, None):  # where all is done, nothing has to start
        results.begin()
        with engine(address) as workers:
            for row in score_chunks(
                chain([first], to_do), workers,
                model=model.read_bytes(), window=str(shown), key=key, out=out,
            ):  # fmt: skip
                progress.add(Counter(json.loads(row["counts"])), row["began"], row["ended"])
    summary = _summary(belongs, card, progress, len(known))
    results.finish(known, summary)
    return summary


def _window(card: ModelCard, window: str | None) -> Window:
    if window:
        return window_named(window)
    return card.window.window


def _whole(path: str) -> str:
    return path.rstrip("/") if is_s3(path) else str(Path(path).absolute())


def _first(listing: Iterator[Any], archive: str) -> Any:
    """Return the first file: an empty archive is a disk that is not there more often than not."""
    for file in listing:
        return file
    raise DataError(
        f"Expected files in {archive}, but there is none.", "See that the path is right."
    )


def _summary(
    belongs: dict[str, str], card: ModelCard, progress: Progress, count: int
) -> dict[str, Any]:
    bad = {kind: number for kind, number in progress.totals.items() if kind != SLICES}
    return {
        **belongs,
        "run": card.run,
        "classes": list(card.classes),
        "chunks": count,
        "slices": progress.totals[SLICES],
        "errors": dict(sorted(bad.items())),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in _LIBRARIES},
        },
    }
