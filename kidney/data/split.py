"""Who is trained on and who is tested on: decided once, by patient, and written to a file.

A split assigns all patients, each with all scans, to k folds; where nobody knows the patients, the
scans. Fold f as test means: fold f is the test part, the validation fold (f + 1 mod k unless
another is named) the validation part, the rest the training part. The holdout is fold 0. All
validation folds in turn under one test fold make the nested cross-validation of a sweep. The split
called `leaky` assigns slices instead: it exists to show how far such figures lie.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from kidney.data.manifest import fingerprint, slice_names
from kidney.errors import ConfigError, DataError
from kidney.files import write_text


class StaleSplitError(DataError):
    """A split was made for an earlier manifest; a new one fits."""


PARTS = ("train", "val", "test")
LEAKY = "leaky"


@dataclass(frozen=True)
class Split:
    """Which fold each patient (or slice) belongs to; the content of a split file.

    Attributes:
        name: of the split, for example by_patient.
        unit: what is assigned to folds: "patient", or "slice" for the leaky split.
        folds: how many there are.
        seed: of the assignment.
        data: fingerprint of the manifest that it was made for.
        fold_of: patient (or slice name) -> fold, 0 to folds - 1.
    """

    name: str
    unit: str
    folds: int
    seed: int
    data: str
    fold_of: Mapping[str, int]


def assign_folds(slices: pd.DataFrame, folds: int, seed: int, by_patient: bool) -> dict[str, int]:
    """Assign patients (or, to show the leak, slices) to folds, each class on its own.

    A patient with several labels counts for the one that the fewest patients have. Within a class,
    patients of one contrast phase and plane are assigned one after the other, so that no fold gets
    all coronal or all enhanced scans of a class.

    Args:
        slices: the manifest.
        folds: how many, at least 3, since a part needs a fold each for test and validation.
        seed: of the shuffle.
        by_patient: assign patients; False assigns slices.

    Returns:
        Patient (or slice name) -> fold. Within a class, and within a phase and plane of a class,
        the number of patients differs by at most one between folds.

    Raises:
        ConfigError: fewer than 3 folds.
        DataError: fewer patients have a class than there are folds.
    """
    if folds < 3:
        raise ConfigError(
            f"Expected split.folds to be at least 3, but got {folds}.",
            "Use 3 or more folds: one is for test, one for validation, the rest for training.",
        )
    units = _units(slices, by_patient)
    having = (slices["patient"] if by_patient else slice_names(slices)).groupby(slices["label"])
    for label, fewer in having.nunique().items():
        if fewer < folds:
            raise DataError(
                f"Expected split.folds to be at most the number of "
                f"{'patients' if by_patient else 'slices'} of {label}, {fewer}, but got {folds}.",
                f"Add scans of {label}"
                + (f", or use fewer folds: split.folds={fewer}." if fewer > 2 else "."),
            )
    generator = np.random.default_rng(seed)
    fold_of: dict[str, int] = {}
    for _, of_class in units.groupby("label", sort=True):
        shuffled = of_class.iloc[generator.permutation(len(of_class))]
        ordered = shuffled.sort_values("stratum", kind="stable")
        start = int(generator.integers(folds))  # else the first folds get every surplus scan
        fold_of |= {name: (start + place) % folds for place, name in enumerate(ordered.index)}
    return fold_of


def _units(slices: pd.DataFrame, by_patient: bool) -> pd.DataFrame:
    """Return one row a patient or slice, in the order of names: its label and its stratum."""
    name = slices["patient"] if by_patient else slice_names(slices)
    table = pd.DataFrame(
        {
            "name": name,
            "label": slices["label"],
            "stratum": slices["phase"] + " " + slices["plane"],
        }
    )
    rarity = table.drop_duplicates(["name", "label"])["label"].value_counts()
    table["order"] = table["label"].map(rarity)
    table = table.sort_values(["name", "order", "label", "stratum"], kind="stable")
    return table.drop_duplicates("name").set_index("name")[["label", "stratum"]]


def make_split(name: str, slices: pd.DataFrame, folds: int, seed: int) -> Split:
    """Assign the manifest to folds: by slice for the split `leaky`, else by patient."""
    by_patient = name != LEAKY
    fold_of = assign_folds(slices, folds, seed, by_patient)
    unit = "patient" if by_patient else "slice"
    return Split(name, unit, folds, seed, fingerprint(slices), fold_of)


def write_split(folder: Path, name: str, slices: pd.DataFrame, folds: int, seed: int) -> Path:
    """Make a split and write splits/NAME.json below `folder`; returns its path."""
    path = split_path(folder, name)
    split = make_split(name, slices, folds, seed)
    write_text(path, json.dumps(asdict(split), indent=1, sort_keys=True) + "\n")
    return path


def split_path(folder: Path, name: str) -> Path:
    """Return where the split called `name` is written."""
    return folder / "splits" / f"{name}.json"


def read_split(folder: Path, name: str, slices: pd.DataFrame) -> Split:
    """Read a split and check that it was made for this manifest and covers it.

    Raises:
        StaleSplitError: it was made for another manifest.
        DataError: it is missing, is no split of this name, or leaves a slice out.
    """
    path = split_path(folder, name)
    remedy = f"Run python scripts/split.py split={name} with the same data=... again."
    if not path.is_file():
        raise DataError(f"Expected a split at {path}, but there is none.", remedy)
    try:
        split = Split(**json.loads(path.read_text(encoding="utf-8")))
        in_a_fold = {unit for unit, fold in split.fold_of.items() if fold in range(split.folds)}
        left_out = set(_unit_of(slices, split)) - in_a_fold
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is not a readable split: {error!r}.", remedy) from error
    if split.name != name:  # else a copy of leaky.json would pass as any other split
        raise DataError(
            f"Expected {path} to be the split {name!r}, but it is {split.name!r}.", remedy
        )
    if split.data != fingerprint(slices):
        raise StaleSplitError(
            f"{path} was made for another manifest ({split.data}, not {fingerprint(slices)}).",
            remedy,
        )
    if left_out:
        raise DataError(
            f"{path} leaves {len(left_out)} units without a fold, for example "
            f"{sorted(left_out)[:3]}.",
            remedy,
        )
    return split


def split_fingerprint(split: Split) -> str:
    """Return 16 hexadecimal digits that change when any scan changes its fold."""
    text = json.dumps([split.name, split.unit, split.fold_of], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def parts_of(
    slices: pd.DataFrame, split: Split, fold: int, validation_fold: int | None = None
) -> pd.Series:
    """Return "train", "val" or "test" for each slice when `fold` is tested.

    Args:
        slices: the manifest.
        split: as `read_split` gives it.
        fold: the test part.
        validation_fold: the validation part; None takes the fold after the test part.

    Raises:
        ConfigError: there is no such fold, or one fold is to be both parts.
        DataError: slices of one patient lie in different parts, and the split is not `leaky`; or a
            part is empty.
    """
    check_folds(split, fold, validation_fold)
    parts = parts_in(slices, split, fold, validation_fold)
    if empty := sorted(set(PARTS) - set(parts)):
        raise DataError(
            f"The split {split.name!r} leaves nothing for {' and '.join(empty)}.",
            "Write the split again with python scripts/split.py.",
        )
    crossing = patients_that_cross(slices, parts)
    if crossing and split.name != LEAKY:
        raise DataError(
            f"The split {split.name!r} leaks: {len(crossing)} patients lie in more than one "
            f"part, for example {crossing[:3]}.",
            "Write the split again with python scripts/split.py; never edit it by slices.",
        )
    return parts


def check_folds(split: Split, fold: int, validation_fold: int | None) -> None:
    """See that the split has these folds.

    Raises:
        ConfigError: it has not, or one fold is to be both parts.
    """
    folds = split.folds
    for name, number in (("fold", fold), ("validation_fold", validation_fold)):
        if number is None and name == "validation_fold":
            continue
        if not isinstance(number, int) or not 0 <= number < folds:
            raise ConfigError(
                f"Expected split.{name} to be 0 to {folds - 1}, but got {number}.",
                "Choose one of the folds of the split file, or write one with more folds.",
            )
    if fold == validation_fold:
        raise ConfigError(
            f"Expected another fold for validation than for test, but both are {fold}.",
            "Choose another split.validation_fold, or null for the fold after the test fold.",
        )


def validation_fold_of(split: Split, fold: int, validation_fold: int | None) -> int:
    """Return the fold that is the validation part: the one after `fold` where none is named."""
    return (fold + 1) % split.folds if validation_fold is None else validation_fold


def parts_in(
    slices: pd.DataFrame, split: Split, fold: int, validation_fold: int | None = None
) -> pd.Series:
    """Return what `parts_of` returns, without its checks: for a look at any split file."""
    validation = validation_fold_of(split, fold, validation_fold)
    fold_of = fold_of_slices(slices, split)
    parts = pd.Series("train", index=slices.index)
    parts[fold_of == validation] = "val"
    parts[fold_of == fold] = "test"
    return parts


def fold_of_slices(slices: pd.DataFrame, split: Split) -> pd.Series:
    """Return the fold of each slice."""
    return _unit_of(slices, split).map(split.fold_of).rename("fold")


def _unit_of(slices: pd.DataFrame, split: Split) -> pd.Series:
    return slice_names(slices) if split.unit == "slice" else slices[split.unit]


def patients_that_cross(slices: pd.DataFrame, parts: pd.Series) -> list[str]:
    """Name the patients whose slices lie in more than one part."""
    count = parts.groupby(slices["patient"]).nunique()
    return sorted(count.index[count > 1])
