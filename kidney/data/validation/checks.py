"""What is wrong with the data and their split, found before anyone trains on them."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import pandas as pd

from kidney.data.validation.confounders import Confounder
from kidney.data.validation.leakage import Leakage, Pair


class Finding(TypedDict):
    """One check of "data" or "split": its level is "ok", "warn" or "fail"."""

    check: str
    about: str
    level: str
    count: int
    says: str
    remedy: str
    examples: list[str]


def findings(
    slices: pd.DataFrame,
    rejected: pd.DataFrame,
    twins: Sequence[Pair],
    biases: Sequence[Confounder],
    classes: Sequence[str],
    limits: Mapping[str, float],
    folds: int,
) -> list[Finding]:
    """Check a manifest.

    Args:
        slices: the manifest.
        rejected: files that ingest refused, as `read_rejected` gives them.
        twins: pairs of slices with two labels that look the same.
        biases: what `confounders` measured.
        classes: the classes that the set must have.
        limits: keys max_rejected_share, max_label_conflicts, max_confounding (effect size) and
            min_slices_a_class.
        folds: how many folds will be dealt; a class needs a patient a fold.
    """
    return [
        *(
            _confounded(bias, limits["max_confounding"])
            for bias in biases
            if bias.is_strong() or bias.effect > limits["max_confounding"]
        ),
        _rejected(rejected, slices["path"].nunique(), limits["max_rejected_share"]),
        _conflicts(slices, limits["max_label_conflicts"]),
        _duplicates(slices),
        _twins(slices, twins),
        *(_class_size(slices, name, int(limits["min_slices_a_class"]), folds) for name in classes),
    ]


def split_findings(
    slices: pd.DataFrame, name: str, leakage: Leakage, limits: Mapping[str, float]
) -> list[Finding]:
    """Check a split by what `measure_leakage` found; `limits` has the key max_leakage."""
    limit = limits["max_leakage"]
    leaks = leakage.near_copies > limit or leakage.crossing > 0
    says = (
        f"{leakage.near_copies:.1%} of the test slices have a near copy in training; {limit:.1%} "
        f"are allowed. {leakage.crossing} patients or scans lie in more than one part. For "
        f"{leakage.nearest_in_training:.1%} the nearest other slice is in training. Copying the "
        f"label of the nearest training slice, which knows no medicine, scores "
        f"{leakage.memory_accuracy:.1%}; the most frequent label {leakage.majority_accuracy:.1%}."
    )
    remedy = (
        f"Figures under the split {name!r} measure memory. Use split=by_scan; join scans of one "
        "patient that were taken for several with data.labels."
    )
    return [
        {
            "check": f"leakage of the split {name!r}",
            "about": "split",
            "level": "fail" if leaks else "ok",
            "count": leakage.crossing,
            "says": says,
            "remedy": remedy,
            "examples": [
                f"{slices['path'].iloc[a]} (test), {slices['path'].iloc[b]} (training)"
                for a, b, _ in leakage.pairs[:3]
            ],
        }
    ]


def no_split(name: str, problem: str, remedy: str) -> Finding:
    """Say that there is no split to train under: its file is broken, or nothing can be dealt."""
    return {
        "check": f"the split {name!r}",
        "about": "data",
        "level": "fail",
        "count": 0,
        "says": problem,
        "remedy": remedy,
        "examples": [],
    }


def _confounded(bias: Confounder, limit: float) -> Finding:
    return {
        "check": f"{bias.title} against label",
        "about": "data",
        "level": "fail" if bias.effect > limit else "warn",
        "count": 0,
        "says": f"{bias.sentence()} Effect size {bias.effect:.2f} of 1. Guessing the label of a "
        f"scan from this alone is right for {bias.accuracy:.0%} of the scans; always guessing the "
        f"most frequent label, for {bias.majority:.0%}.",
        "remedy": "A model can score by reading this instead of the finding. Look at figures "
        "within each group, augment it away, and add scans of the missing kinds.",
        "examples": [],
    }


def _rejected(rejected: pd.DataFrame, kept: int, limit: float) -> Finding:
    expected = int((rejected["expected"] == "yes").sum())
    bad = rejected[rejected["expected"] != "yes"]
    share = len(bad) / max(len(bad) + kept, 1)
    level = "fail" if share > limit else "warn" if len(bad) else "ok"
    return {
        "check": "files that are no usable slices",
        "about": "data",
        "level": level,
        "count": len(bad),
        "says": f"{len(bad)} files ({share:.1%}) were refused; {limit:.1%} are allowed. {expected} "
        "more are no slices by their nature, such as localizers.",
        "remedy": "Repair or remove them; rejected.csv names every file and its reason.",
        "examples": list(bad["reason"].head(5)),
    }


def _conflicts(slices: pd.DataFrame, limit: float) -> Finding:
    labels = slices.groupby("sha256")["label"].nunique()
    bad = slices[slices["sha256"].isin(labels.index[labels > 1])]
    pictures = bad["sha256"].nunique()
    return {
        "check": "one picture under several labels",
        "about": "data",
        "level": "fail" if pictures > limit else "warn" if pictures else "ok",
        "count": pictures,
        "says": f"{pictures} pictures have more than one label.",
        "remedy": "Ask who labelled them, and keep one copy under the right label.",
        "examples": list(bad.sort_values("sha256")["path"].head(6)),
    }


def _duplicates(slices: pd.DataFrame) -> Finding:
    copies = slices[slices.duplicated("sha256")]
    owners = slices.groupby("sha256")["patient"].nunique()
    apart = slices[slices["sha256"].isin(owners.index[owners > 1])]
    return {
        "check": "exact duplicates",
        "about": "data",
        "level": "warn" if len(copies) else "ok",
        "count": len(copies),
        "says": f"{len(copies)} slices are copies of another file; "
        f"{apart['sha256'].nunique()} pictures belong to more than one patient.",
        "remedy": "Copies within a patient count twice in training. One picture of two patients "
        "means that they are one, or that a file was copied by mistake: the split may part them. "
        "Say so in data.labels.",
        "examples": list((apart if len(apart) else copies)["path"].head(5)),
    }


def _twins(slices: pd.DataFrame, twins: Sequence[Pair]) -> Finding:
    return {
        "check": "near duplicates across labels",
        "about": "data",
        "level": "warn" if twins else "ok",
        "count": len(twins),
        "says": f"{len(twins)} pairs of slices with two labels are nearly the same picture.",
        "remedy": "Ask who labelled them: either one label is wrong, or one patient is in two "
        "classes; then give both scans one patient in data.labels.",
        "examples": [
            f"{slices['path'].iloc[a]} and {slices['path'].iloc[b]} ({alike:.2f})"
            for a, b, alike in twins[:3]
        ],
    }


def _class_size(slices: pd.DataFrame, label: str, smallest: int, folds: int) -> Finding:
    rows = slices[slices["label"] == label]
    patients = rows["patient"].nunique()
    enough = len(rows) >= smallest and patients >= folds
    return {
        "check": f"enough of {label}",
        "about": "data",
        "level": "ok" if enough else "fail",
        "count": len(rows),
        "says": f"{len(rows)} slices of {patients} patients or scans; at least {smallest} slices "
        f"and {folds} patients are needed.",
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
        "patients": int(slices["patient"].nunique()),
        "classes": {
            str(label): {"slices": len(rows), "scans": int(rows["scan"].nunique())}
            for label, rows in by_label
        },
        "sizes": {str(size): int(count) for size, count in sizes.items()},
    }
