"""What is wrong with the data, found before anyone trains on it."""

import io
from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np
import pandas as pd
from PIL import Image

from kidney.data.cache import SliceCache
from kidney.data.scans import thumbnail
from kidney.page import page, picture, table


class Finding(TypedDict):
    """One check: its level is "ok", "warn" or "fail"."""

    check: str
    level: str
    count: int
    says: str
    remedy: str
    examples: list[str]


def findings(
    slices: pd.DataFrame,
    rejected: pd.DataFrame,
    classes: list[str],
    limits: Mapping[str, float],
    folds: int,
) -> list[Finding]:
    """Check a manifest.

    Args:
        slices: the manifest.
        rejected: files that ingest refused: path and reason.
        classes: the classes that the set must have.
        limits: largest share of refused files, largest number of label conflicts, and smallest
            number of slices a class: keys max_rejected_share, max_label_conflicts,
            min_slices_a_class.
        folds: how many folds will be dealt; a class needs a scan a fold.
    """
    found = [
        _rejected(rejected, len(slices), limits["max_rejected_share"]),
        _conflicts(slices, limits["max_label_conflicts"]),
        _duplicates(slices),
    ]
    for label in classes:
        found.append(_class_size(slices, label, int(limits["min_slices_a_class"]), folds))
    return found


def _rejected(rejected: pd.DataFrame, kept: int, limit: float) -> Finding:
    share = len(rejected) / max(len(rejected) + kept, 1)
    level = "fail" if share > limit else "warn" if len(rejected) else "ok"
    return {
        "check": "files that are no usable slices",
        "level": level,
        "count": len(rejected),
        "says": f"{len(rejected)} files ({share:.1%}) were refused; {limit:.1%} are allowed.",
        "remedy": "Repair or remove them; rejected.csv names every file and its reason.",
        "examples": list(rejected["reason"].head(5)),
    }


def _conflicts(slices: pd.DataFrame, limit: float) -> Finding:
    labels = slices.groupby("sha256")["label"].nunique()
    bad = slices[slices["sha256"].isin(labels.index[labels > 1])]
    pictures = bad["sha256"].nunique()
    return {
        "check": "one picture under several labels",
        "level": "fail" if pictures > limit else "warn" if pictures else "ok",
        "count": pictures,
        "says": f"{pictures} pictures have more than one label.",
        "remedy": "Ask who labelled them, and keep one copy under the right label.",
        "examples": list(bad.sort_values("sha256")["path"].head(6)),
    }


def _duplicates(slices: pd.DataFrame) -> Finding:
    copies = slices[slices.duplicated("sha256")]
    return {
        "check": "exact duplicates",
        "level": "warn" if len(copies) else "ok",
        "count": len(copies),
        "says": f"{len(copies)} slices are copies of another file.",
        "remedy": "Harmless for the split, since scans that share a slice are joined; they count "
        "twice in training.",
        "examples": list(copies["path"].head(5)),
    }


def _class_size(slices: pd.DataFrame, label: str, smallest: int, folds: int) -> Finding:
    rows = slices[slices["label"] == label]
    scans = rows["scan"].nunique()
    enough = len(rows) >= smallest and scans >= folds
    return {
        "check": f"enough of {label}",
        "level": "ok" if enough else "fail",
        "count": len(rows),
        "says": f"{len(rows)} slices of {scans} scans; at least {smallest} slices and {folds} "
        "scans are needed.",
        "remedy": "Add scans of this class, or lower split.folds.",
        "examples": [],
    }


def summary(slices: pd.DataFrame) -> dict[str, Any]:
    """Count slices, scans and sizes by class."""
    by_label = slices.groupby("label")
    sizes = (slices["width"].astype(str) + " x " + slices["height"].astype(str)).value_counts()
    return {
        "slices": len(slices),
        "scans": int(slices["scan"].nunique()),
        "classes": {
            str(label): {"slices": len(rows), "scans": int(rows["scan"].nunique())}
            for label, rows in by_label
        },
        "sizes": {str(size): int(count) for size, count in sizes.items()},
    }


def report_page(
    name: str, counts: dict[str, Any], found: list[Finding], pictures: dict[str, bytes]
) -> str:
    """Return the validation report as HTML.

    Args:
        name: of the data set.
        counts: what `summary` returned.
        found: what `findings` returned.
        pictures: class -> PNG with slices of that class.
    """
    failed = sum(finding["level"] == "fail" for finding in found)
    verdict = f"{failed} checks failed" if failed else "All checks that can stop a training passed"
    lead = (
        f"{verdict}. {counts['slices']:,} slices of {counts['scans']} scans. Slices of one scan "
        "are near copies of each other, so the number of scans is the size of this set."
    )
    checks = [
        (f["level"], f["check"], f["says"], f["remedy"] if f["level"] != "ok" else "",
         "; ".join(f["examples"]))
        for f in found
    ]  # fmt: skip
    classes = [(label, n["slices"], n["scans"]) for label, n in counts["classes"].items()]
    return page(
        f"Validation of {name}",
        lead,
        [
            ("Checks", table(["", "check", "result", "what to do", "examples"], checks)),
            ("Classes", table(["class", "slices", "scans"], classes)),
            ("Sizes in pixels", table(["width x height", "slices"], list(counts["sizes"].items()))),
            ("What the slices look like", "".join(picture(p, c) for c, p in pictures.items())),
        ],
    )


def contact_sheet(cache: SliceCache, slices: pd.DataFrame, label: str, count: int = 8) -> bytes:
    """Return a PNG with the middle slice of up to `count` scans of a class, side by side."""
    rows = np.arange(len(slices))[slices["label"] == label]
    scans = slices["scan"].to_numpy()[rows]
    middles = [rows[scans == scan][(scans == scan).sum() // 2] for scan in pd.unique(scans)[:count]]
    sheet = Image.fromarray(np.hstack([thumbnail(cache[row]) for row in middles]))
    out = io.BytesIO()
    sheet.save(out, "PNG")
    return out.getvalue()
