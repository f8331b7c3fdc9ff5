"""The results of one archive, in a folder or an object store: one Parquet file a chunk and kind.

A file appears whole or not at all, so a chunk that is done is never scored again.
"""

import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kidney.artifact.card import ModelCard
from kidney.errors import ConfigError, DataError
from kidney.files import whole_file
from kidney.remote.http import RefusedError
from kidney.remote.object_store import (
    is_object,
    list_objects,
    read_object,
    remove_object,
    write_object,
)
from kidney.scoring.rows import ERRORS, slices_schema

SLICES, BAD = "slices", "errors"  # folders
IDENTITY = "scoring.json"  # the archive, model, window and key of these results
SUMMARY = "summary.json"  # there only when every file of the archive is done
_SUFFIX = ".parquet"


class Results:
    """The results of one archive by one model.

    Args:
        location: a folder, which need not be there yet, or s3://BUCKET/FOLDER.
    """

    def __init__(self, location: str, card: ModelCard, model: str) -> None:
        self._location = location.rstrip("/")
        self._schema = slices_schema(card.classes, model)

    def claim(self, identity: Mapping[str, str]) -> None:
        """Note what the results are of, or see that they still are.

        Args:
            identity: archive, model, window and the like.

        Raises:
            ConfigError: they are of another archive or model.
        """
        noted = self.read(IDENTITY)
        if noted is None:
            self.write(IDENTITY, _json(identity))
            return
        before = json.loads(noted)
        for name, value in identity.items():
            if before.get(name) != value:
                raise ConfigError(
                    f"Expected {self._location} to hold results of the {name} {value}, but they "
                    f"are of {before.get(name)}.",
                    "Give another folder with --out: results of two kinds in one would be mixed.",
                )

    def done(self) -> set[str]:
        """Return the ids of the chunks that are done."""
        if is_object(self._location):
            found = list_objects(f"{self._location}/{SLICES}")
            # Azure shows an object of no bytes while it is written.
            paths = [Path(name) for name, version in found if not version.startswith("0 ")]
        else:
            paths = list(Path(self._location, SLICES).glob(f"[!.]*{_SUFFIX}"))
        return {path.stem for path in paths if path.suffix == _SUFFIX}

    def write_chunk(
        self, chunk: str, slices: Sequence[Mapping[str, Any]], bad: Sequence[Mapping[str, Any]]
    ) -> None:
        """Write the files of a chunk; that of its slices last, since it marks it as done."""
        if bad:
            self.write(_part(BAD, chunk), to_parquet(bad, ERRORS))
        self.write(_part(SLICES, chunk), to_parquet(slices, self._schema))

    def counts(self, chunk: str) -> Counter[str]:
        """Return how many slices a chunk has, and how many files of each kind of bad."""
        slices, bad = (self.read(_part(folder, chunk)) for folder in (SLICES, BAD))
        kinds = pq.read_table(io.BytesIO(bad), columns=["kind"])["kind"].to_pylist() if bad else ()
        count = pq.read_metadata(io.BytesIO(slices)).num_rows if slices else 0
        return Counter(kinds) + Counter({SLICES: count})

    def begin(self) -> None:
        """Take the summary away: from here on the results are unfinished."""
        self._remove(SUMMARY)

    def finish(self, chunks: set[str], summary: Mapping[str, Any]) -> None:
        """Remove the files of chunks that the archive no longer has, and write the summary."""
        for chunk in self.done() - chunks:
            for folder in (SLICES, BAD):  # the other way round than they were written
                self._remove(_part(folder, chunk))
        self.write(SUMMARY, _json(summary))

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a file, such as slices/1.parquet; None: there is none."""
        try:
            if is_object(self._location):
                return read_object(f"{self._location}/{name}")
            return Path(self._location, name).read_bytes()
        except FileNotFoundError:
            return None
        except RefusedError as error:
            if error.status != 404:
                raise
            return None

    def write(self, name: str, data: bytes) -> None:
        """Write a file in place of what has its name.

        Raises:
            DataError: it cannot be written.
        """
        if is_object(self._location):
            write_object(f"{self._location}/{name}", data)
            return
        try:
            with whole_file(Path(self._location, name)) as temporary:
                temporary.write_bytes(data)
        except OSError as error:
            raise DataError(
                f"Expected to write {self._location}/{name}, but: {error.strerror or error}.",
                "Give a folder that can be written to, on a disk that has room.",
            ) from error

    def _remove(self, name: str) -> None:
        if is_object(self._location):
            remove_object(f"{self._location}/{name}")
        else:
            Path(self._location, name).unlink(missing_ok=True)


def to_parquet(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> bytes:
    """Return a Parquet file; the same rows always give the same bytes."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows), schema), buffer, compression="zstd")
    return buffer.getvalue()


def _part(folder: str, chunk: str) -> str:
    return f"{folder}/{chunk}{_SUFFIX}"


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()
