"""Slices of several hospitals as records that say what is known of each.

A set contributes what it has. KiTS draws kidneys and tumours but no cysts; the public
classification set names one finding and draws nothing; a report says that a whole series shows no
mass. A record says for each of the four maps of the network where its truth is known, and the loss
looks nowhere else.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as validated

from kidney.errors import DataError
from kidney.files import whole_folder
from kidney.imaging.zip_archive import is_archive, unpack

# Channels of the network and of every target, in this order: the value in a mask less one. The
# first is any place inside a kidney, lesions included; a mask holds the most special value.
CHANNELS = ("kidney", "tumor", "cyst", "stone")
KIDNEY, TUMOR, CYST, STONE = range(1, 5)  # values in a mask

# Where a channel's truth is known: at all places; only where the mask draws it; at all places but
# healthy kidney, in which nobody drew it (cysts of KiTS and CURVAS); at no place.
Known = Literal["all", "drawn", "outside", "none"]
# What the numbers of a slice are: Hounsfield units; those from 0 to 255, clipped; greys of a window
# that nobody wrote down.
Greys = Literal["hu", "hu_0_255", "picture"]

ALL_KNOWN: tuple[Known, Known, Known, Known] = ("all", "all", "all", "all")


@validated(frozen=True)
class SliceRecord:
    """What is known of a slice.

    Attributes:
        source: name of the set.
        pool: the group of the set that it is drawn from: slices of a pool are alike in what they
            show and in what is known.
        patient: whose it is; no two sets share one.
        path: of its file in the set, POSIX, with #FRAME behind it in files of many slices.
        greys: see `Greys`.
        known: for each of CHANNELS, see `Known`.
        label: the finding that it was chosen for, or "normal"; "" where nobody chose it.
        present: findings of CHANNELS that it shows somewhere, where a label says so and no mask
            says where.
    """

    source: str
    pool: str
    patient: str
    path: str
    greys: Greys
    known: tuple[Known, Known, Known, Known] = ALL_KNOWN
    label: str = ""
    present: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class SourceSlice:
    """A slice as its file shows it.

    Attributes:
        record: what is known of it.
        pixels: uint8 (H, W), or int16 where the greys are Hounsfield units.
        mask: uint8 (H, W): 0, or one of KIDNEY, TUMOR, CYST, STONE.
    """

    record: SliceRecord
    pixels: NDArray[np.uint8] | NDArray[np.int16]
    mask: NDArray[np.uint8]


Wanted = Callable[[str], bool]  # patient -> whether its slices are asked for
# Name of the set, files by role, wanted -> slices. Readers are in kidney.data.lesions.readers.
Read = Callable[[str, Mapping[str, tuple[Path, ...]], Wanted], Iterator[SourceSlice]]


@dataclass(frozen=True)
class Source:
    """One set and its part in training.

    Attributes:
        name: of the set.
        files: role -> names of files and archives below the folder of all sets.
        pools: pool -> its share of the training slices, in any unit; 0: for evaluation only.
        read: the reader.
        pastes: whether lesions are taken from its slices and pasted into its kidneys.
        in_folds: whether its patients are held out in folds. Phantoms are nobody.
        as_served: whether its slices, in HU, are shown through the window of the server and only
            turned, zoomed and mirrored: enough for drawings, which all come from one scanner.
        optional: whether training goes on without it where a file is missing.
    """

    name: str
    files: Mapping[str, Sequence[str]]
    pools: Mapping[str, float]
    read: Read
    pastes: bool = False
    in_folds: bool = True
    as_served: bool = False
    optional: bool = False

    def slices(self, folder: Path, cache: Path, wanted: Wanted) -> Iterator[SourceSlice]:
        """Read the slices of the patients that are wanted.

        Args:
            folder: holds the files.
            cache: where archives are unpacked.
            wanted: see `Wanted`.

        Raises:
            DataError: a file is missing or is not as expected, or a pool has no share.
        """
        paths = {
            role: tuple(_opened(folder / name, cache) for name in names)
            for role, names in self.files.items()
        }
        for slice_ in self.read(self.name, paths, wanted):
            if slice_.record.pool not in self.pools:
                raise DataError(
                    f"Expected a share of the training for {self.name}/{slice_.record.pool}, but "
                    f"its pools are {', '.join(self.pools)}.",
                    f"Add it to sources.{self.name}.pools; 0 keeps it out of training.",
                )
            yield slice_

    def missing(self, folder: Path) -> list[str]:
        """Return the names of files that are not in the folder."""
        names = [name for of_role in self.files.values() for name in of_role]
        return [name for name in names if not (folder / name).exists()]


def available(sources: Sequence[Source], folder: Path) -> list[Source]:
    """Return the sources whose files are there, and say which optional ones are left out.

    Raises:
        DataError: a file of a source that is not optional is missing, or nothing is left.
    """
    found = []
    for source in sources:
        if not (missing := source.missing(folder)):
            found.append(source)
        elif source.optional:
            print(f"Training without {source.name}: {folder} has no {', '.join(missing)}")
        else:
            raise DataError(
                f"Expected {', '.join(missing)} of the source {source.name} in {folder}, but found "
                "none.",
                f"Put the file there, name its folder (folder=PATH), or leave the source out: "
                f"without=[{source.name}].",
            )
    if not found:
        raise DataError(f"Expected at least one source in {folder}, but none is there.", "Add one.")
    return found


_RECORDS = TypeAdapter(list[SliceRecord])


def dump_records(records: Sequence[SliceRecord]) -> bytes:
    """Return records as JSON."""
    return _RECORDS.dump_json(list(records), indent=1)


def load_records(data: bytes, name: str) -> list[SliceRecord]:
    """Return what `dump_records` wrote.

    Raises:
        DataError: it is something else; `name` is what the error calls it.
    """
    try:
        return _RECORDS.validate_json(data)
    except ValidationError as error:
        raise DataError(
            f"{name} holds no records of slices: {error.errors()[0]['msg']}.",
            "Delete its folder: it is made again.",
        ) from error


def _opened(path: Path, cache: Path) -> Path:
    """Return a file or folder as it is, and of an archive the folder that it is unpacked to."""
    if not path.exists():
        raise DataError(f"Expected {path}, but there is none.", "Name its folder: folder=PATH.")
    if path.is_dir() or not is_archive(path):
        return path
    status = path.stat()
    folder = cache / "unpacked" / f"{path.name}-{status.st_size}-{status.st_mtime_ns}"
    if not folder.is_dir():
        with whole_folder(folder) as temporary:
            unpack(path, temporary)
    return folder
