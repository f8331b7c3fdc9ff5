"""Who is trained on and who is tested on: decided once, by scan, and written to a file.

A split deals all scans into k folds. Fold f as test means: fold f is the test part, fold f + 1
(mod k) the validation part, the rest the training part. The holdout is fold 0. The split called
`leaky` deals slices instead of scans: it exists to show how far such figures lie.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kidney.data.manifest import fingerprint
from kidney.errors import ConfigError, DataError
from kidney.files import write_text

PARTS = ("train", "val", "test")
LEAKY = "leaky"


def deal(slices: pd.DataFrame, folds: int, seed: int, by_scan: bool) -> dict[str, int]:
    """Deal scans (or, to show the leak, slices) into folds, each class on its own.

    Args:
        slices: the manifest.
        folds: how many, at least 3, since a part needs a fold each for test and validation.
        seed: of the shuffle.
        by_scan: deal scans; False deals paths.

    Returns:
        Scan (or path) -> fold. Within a class the number of scans differs by at most one between
        folds. A scan with slices of several classes is dealt with its most frequent class.

    Raises:
        ConfigError: fewer than 3 folds.
        DataError: a class has fewer scans than there are folds.
    """
    if folds < 3:
        raise ConfigError(
            f"Expected split.folds to be at least 3, but got {folds}.",
            "Use 3 or more folds: one is for test, one for validation, the rest for training.",
        )
    unit = "scan" if by_scan else "path"
    label_of = slices.groupby(unit)["label"].agg(lambda labels: labels.mode().iloc[0])
    generator = np.random.default_rng(seed)
    fold_of: dict[str, int] = {}
    for label in sorted(slices["label"].unique()):
        names = sorted(label_of.index[label_of == label])
        if len(names) < folds:
            raise DataError(
                f"Expected split.folds to be at most the number of {unit}s of {label}, "
                f"{len(names)}, but got {folds}.",
                f"Add scans of {label}"
                + (f", or use fewer folds: split.folds={len(names)}." if len(names) > 2 else "."),
            )
        order = generator.permutation(len(names))
        start = int(generator.integers(folds))  # else the first folds get every surplus scan
        fold_of |= {names[i]: int((start + k) % folds) for k, i in enumerate(order)}
    return fold_of


def write_split(folder: Path, name: str, slices: pd.DataFrame, folds: int, seed: int) -> Path:
    """Deal the manifest and write splits/NAME.json below `folder`; returns its path."""
    by_scan = name != LEAKY
    content = {
        "name": name,
        "unit": "scan" if by_scan else "path",
        "folds": folds,
        "seed": seed,
        "data": fingerprint(slices),
        "fold_of": deal(slices, folds, seed, by_scan),
    }
    path = split_path(folder, name)
    write_text(path, json.dumps(content, indent=1, sort_keys=True) + "\n")
    return path


def split_path(folder: Path, name: str) -> Path:
    """Return where the split called `name` is written."""
    return folder / "splits" / f"{name}.json"


def read_split(folder: Path, name: str, slices: pd.DataFrame) -> dict[str, Any]:
    """Read a split and check that it was made for this manifest and covers it.

    Raises:
        DataError: it is missing, is no split of this name, was made for another manifest, or
            leaves a slice out.
    """
    path = split_path(folder, name)
    remedy = f"Run python scripts/split.py split={name} with the same data=... again."
    if not path.is_file():
        raise DataError(f"Expected a split at {path}, but there is none.", remedy)
    try:
        split: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        made_for, units, known = split["data"], slices[split["unit"]], range(split["folds"])
        dealt = {unit for unit, fold in split["fold_of"].items() if fold in known}
        left_out, called = set(units) - dealt, split["name"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is not a readable split: {error!r}.", remedy) from error
    if called != name:  # else a copy of leaky.json would pass as any other split
        raise DataError(f"Expected {path} to be the split {name!r}, but it is {called!r}.", remedy)
    if made_for != fingerprint(slices) or left_out:
        raise DataError(
            f"{path} was made for another manifest ({made_for}, not {fingerprint(slices)}; "
            f"{len(left_out)} units without a fold).",
            remedy,
        )
    return split


def split_fingerprint(split: dict[str, Any]) -> str:
    """Return 16 hexadecimal digits that change when any scan changes its fold."""
    text = json.dumps([split["name"], split["unit"], split["fold_of"]], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def parts_of(slices: pd.DataFrame, split: dict[str, Any], fold: int) -> pd.Series:
    """Return "train", "val" or "test" for each slice when `fold` is tested.

    Raises:
        ConfigError: there is no such fold.
        DataError: slices of one scan lie in different parts, and the split is not `leaky`; or a
            part is empty.
    """
    folds = split["folds"]
    if not 0 <= fold < folds:
        raise ConfigError(
            f"Expected split.fold to be 0 to {folds - 1}, but got {fold}.",
            "Choose one of the folds of the split file, or write one with more folds.",
        )
    fold_of = slices[split["unit"]].map(split["fold_of"])
    parts = pd.Series("train", index=slices.index)
    parts[fold_of == (fold + 1) % folds] = "val"
    parts[fold_of == fold] = "test"
    if empty := sorted(set(PARTS) - set(parts)):
        raise DataError(
            f"The split {split['name']!r} leaves nothing for {' and '.join(empty)}.",
            "Write the split again with python scripts/split.py.",
        )
    crossing = scans_that_cross(slices, parts)
    if crossing and split["name"] != LEAKY:
        raise DataError(
            f"The split {split['name']!r} leaks: {len(crossing)} scans lie in more than one part, "
            f"for example {crossing[:3]}.",
            "Write the split again with python scripts/split.py; never edit it by slices.",
        )
    return parts


def scans_that_cross(slices: pd.DataFrame, parts: pd.Series) -> list[str]:
    """Name the scans whose slices lie in more than one part."""
    count = parts.groupby(slices["scan"]).nunique()
    return sorted(count.index[count > 1])
