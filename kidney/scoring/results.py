"""The folder of results: a part for each chunk, so that what is done is never done again."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from kidney.artifact.card import ModelCard
from kidney.errors import ConfigError
from kidney.scoring.rows import ERRORS, kinds_of, rows_of, slices_schema, to_parquet
from kidney.scoring.storage import Place

SLICES, BAD = "slices", "errors"  # folders of parts
BELONGS = "scoring.json"  # what the folder belongs to
SUMMARY = "summary.json"  # there only when every file of the archive is done
_SUFFIX = ".parquet"


class Results:
    """The results of one archive by one model.

    Args:
        place: where they lie.
        card: of the model.
        model: SHA-256 of the model's file.
    """

    def __init__(self, place: Place, card: ModelCard, model: str) -> None:
        self.place = place
        self._schema = slices_schema(card.classes, model)

    def claim(self, what: Mapping[str, str]) -> None:
        """Note what the folder belongs to, or see that it still belongs to it.

        Args:
            what: archive, model, window and the like.

        Raises:
            ConfigError: it belongs to another archive or model.
        """
        noted = self.place.read(BELONGS)
        if noted is None:
            self.place.write(BELONGS, _json(what))
            return
        before = json.loads(noted)
        if changed := [name for name in what if before.get(name) != what[name]]:
            name = changed[0]
            raise ConfigError(
                f"Expected {self.place} to hold results of the {name} {what[name]}, but they are "
                f"of {before.get(name)}.",
                "Give another folder with --out: results of two kinds in one would be mixed up.",
            )

    def done(self) -> set[str]:
        """Return the ids of the chunks that are done."""
        return {
            name.removesuffix(_SUFFIX)
            for name in self.place.names(SLICES)
            if name.endswith(_SUFFIX) and not name.startswith(".")
        }

    def write(
        self, chunk: str, slices: Sequence[Mapping[str, Any]], bad: Sequence[Mapping[str, Any]]
    ) -> None:
        """Write the parts of a chunk; that of its slices last, since it says that it is done."""
        if bad:
            self.place.write(_part(BAD, chunk), to_parquet(bad, ERRORS))
        self.place.write(_part(SLICES, chunk), to_parquet(slices, self._schema))

    def counts(self, chunk: str) -> Counter[str]:
        """Return how many slices a chunk has, and how many files of each kind of bad."""
        slices, bad = (self.place.read(_part(folder, chunk)) for folder in (SLICES, BAD))
        counts = Counter(kinds_of(bad) if bad else ())
        counts[SLICES] = rows_of(slices) if slices else 0
        return counts

    def begin(self) -> None:
        """Take the summary away: from here on the folder is unfinished."""
        self.place.remove(SUMMARY)

    def finish(self, chunks: set[str], summary: Mapping[str, Any]) -> None:
        """Remove the parts of chunks that the archive no longer has, and write the summary."""
        for chunk in self.done() - chunks:
            for folder in (SLICES, BAD):  # the other way round than they were written
                self.place.remove(_part(folder, chunk))
        self.place.write(SUMMARY, _json(summary))


def _part(folder: str, chunk: str) -> str:
    return f"{folder}/{chunk}{_SUFFIX}"


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()
