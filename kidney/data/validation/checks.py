"""What is wrong with the data and their split, found before anyone trains on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from kidney.data.validation.confounders import Confounder
from kidney.data.validation.leakage import Leakage, Pair

Level = Literal["fail", "warn", "ok"]
LEVELS = ("fail", "warn", "ok")


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        check: its name.
        level: whether it stops a training ("fail"), has to be known ("warn") or is fine ("ok").
        count: how many slices, files or pictures it is about.
        message: the result in words.
        remedy: what to do where the level is not "ok".
        examples: a few of what it is about.
        about: whether the data or their split are checked.
    """

    check: str
    level: Level
    count: int
    message: str
    remedy: str
    examples: tuple[str, ...] = ()
    about: Literal["data", "split"] = "data"


@dataclass(frozen=True)
class ClassCount:
    """Slices and scans of one class."""

    slices: int
    scans: int


@dataclass(frozen=True)
class Summary:
    """How large a set is; `sizes` are "width x height" -> slices, the most frequent first."""

    slices: int
    scans: int
    patients: int
    classes: dict[str, ClassCount]
    sizes: dict[str, int]


def findings(
    slices: pd.DataFrame,
    rejected: pd.DataFrame,
    near_duplicates: Sequence[Pair],
    biases: Sequence[Confounder],
    classes: Sequence[str],
    limits: Mapping[str, float],
    folds: int,
) -> list[Finding]:
    """Check a manifest.

    Args:
        slices: the manifest.
        rejected: files that ingest refused, as `read_rejected` gives them.
        near_duplicates: pairs of slices with two labels that look the same.
        biases: what `confounders` measured.
        classes: the classes that the set must have.
        limits: keys max_rejected_share, max_label_conflicts, max_confounding (effect size) and
            min_slices_a_class.
        folds: how many folds the split will have; a class needs a patient a fold.
    """
    limit = limits["max_confounding"]
    return [
        *(_confounded(b, limit) for b in biases if b.is_strong() or b.effect > limit),
        _rejected(rejected, slices["path"].nunique(), limits["max_rejected_share"]),
        _conflicts(slices, limits["max_label_conflicts"]),
        _duplicates(slices),
        _near_duplicates(slices, near_duplicates),
        *(_class_size(slices, name, int(limits["min_slices_a_class"]), folds) for name in classes),
    ]


def split_findings(
    slices: pd.DataFrame, name: str, leakage: Leakage, limits: Mapping[str, float]
) -> list[Finding]:
    """Check a split by what `measure_leakage` found; `limits` has the key max_leakage."""
    limit = limits["max_leakage"]
    leaks = leakage.near_copies > limit or leakage.crossing > 0
    return [
        Finding(
            check=f"leakage of the split {name!r}",
            about="split",
            level="fail" if leaks else "ok",
            count=leakage.crossing,
            message=f"{leakage.near_copies:.1%} of the test slices have a near copy in training; "
            f"{limit:.1%} are allowed. {leakage.crossing} patients or scans lie in more than one "
            f"part. For {leakage.nearest_in_training:.1%} the nearest other slice is in training. "
            "Copying the label of the nearest training slice, which knows no medicine, scores "
            f"{leakage.memory_accuracy:.1%}; the most frequent label "
            f"{leakage.majority_accuracy:.1%}.",
            remedy=f"Figures under the split {name!r} measure memory. Use split=by_patient; join "
            "scans of one patient that were taken for several with data.labels.",
            examples=tuple(
                f"{slices['path'].iloc[a]} (test), {slices['path'].iloc[b]} (training)"
                for a, b, _ in leakage.pairs[:3]
            ),
        )
    ]


def no_split(name: str, problem: str, remedy: str) -> Finding:
    """Return the finding that there is no split: its file is broken, or none can be made."""
    return Finding(f"the split {name!r}", "fail", 0, problem, remedy)


def _confounded(bias: Confounder, limit: float) -> Finding:
    return Finding(
        check=f"{bias.title} against label",
        level="fail" if bias.effect > limit else "warn",
        count=0,
        message=f"{bias.sentence()} Effect size {bias.effect:.2f} of 1. Guessing the label of a "
        f"scan from this alone is right for {bias.accuracy:.0%} of the scans; always guessing the "
        f"most frequent label, for {bias.majority:.0%}.",
        remedy="A model can score by reading this instead of the finding. Look at figures within "
        "each group, augment it away, and add scans of the missing kinds.",
    )


def _rejected(rejected: pd.DataFrame, kept: int, limit: float) -> Finding:
    expected = int((rejected["expected"] == "yes").sum())
    bad = rejected[rejected["expected"] != "yes"]
    share = len(bad) / max(len(bad) + kept, 1)
    return Finding(
        check="files that are no usable slices",
        level=_level(len(bad), fails=share > limit),
        count=len(bad),
        message=f"{len(bad)} files ({share:.1%}) were refused; {limit:.1%} are allowed. {expected} "
        "more are no slices by their nature, such as localizers.",
        remedy="Repair or remove them; rejected.csv names every file and its reason.",
        examples=tuple(bad["reason"].head(5)),
    )


def _conflicts(slices: pd.DataFrame, limit: float) -> Finding:
    labels = slices.groupby("sha256")["label"].nunique()
    bad = slices[slices["sha256"].isin(labels.index[labels > 1])]
    pictures = bad["sha256"].nunique()
    return Finding(
        check="one picture under several labels",
        level=_level(pictures, fails=pictures > limit),
        count=pictures,
        message=f"{pictures} pictures have more than one label.",
        remedy="Ask who labelled them, and keep one copy under the right label.",
        examples=tuple(bad.sort_values("sha256")["path"].head(6)),
    )


def _duplicates(slices: pd.DataFrame) -> Finding:
    copies = slices[slices.duplicated("sha256")]
    owners = slices.groupby("sha256")["patient"].nunique()
    apart = slices[slices["sha256"].isin(owners.index[owners > 1])]
    return Finding(
        check="exact duplicates",
        level=_level(len(copies)),
        count=len(copies),
        message=f"{len(copies)} slices are copies of another file; "
        f"{apart['sha256'].nunique()} pictures belong to more than one patient.",
        remedy="Copies within a patient count twice in training. One picture of two patients means "
        "that they are one, or that a file was copied by mistake: a split may put them in "
        "different parts. Correct it in data.labels.",
        examples=tuple((apart if len(apart) else copies)["path"].head(5)),
    )


def _near_duplicates(slices: pd.DataFrame, pairs: Sequence[Pair]) -> Finding:
    return Finding(
        check="near duplicates across labels",
        level=_level(len(pairs)),
        count=len(pairs),
        message=f"{len(pairs)} pairs of slices with two labels are nearly the same picture.",
        remedy="Ask who labelled them: either one label is wrong, or one patient is in two "
        "classes; then give both scans one patient in data.labels.",
        examples=tuple(
            f"{slices['path'].iloc[a]} and {slices['path'].iloc[b]} ({correlation:.2f})"
            for a, b, correlation in pairs[:3]
        ),
    )


def _class_size(slices: pd.DataFrame, label: str, smallest: int, folds: int) -> Finding:
    rows = slices[slices["label"] == label]
    patients = rows["patient"].nunique()
    return Finding(
        check=f"enough of {label}",
        level="ok" if len(rows) >= smallest and patients >= folds else "fail",
        count=len(rows),
        message=f"{len(rows)} slices of {patients} patients or scans; at least {smallest} slices "
        f"and {folds} patients are needed.",
        remedy="Add scans of this class, or lower split.folds.",
    )


def _level(count: int, fails: bool = False) -> Level:
    return "fail" if fails else "warn" if count else "ok"


def summary(slices: pd.DataFrame) -> Summary:
    """Count slices, scans and sizes by class."""
    sizes = (slices["width"].astype(str) + " x " + slices["height"].astype(str)).value_counts()
    return Summary(
        slices=len(slices),
        scans=int(slices["scan"].nunique()),
        patients=int(slices["patient"].nunique()),
        classes={
            str(label): ClassCount(len(rows), int(rows["scan"].nunique()))
            for label, rows in slices.groupby("label")
        },
        sizes={str(size): int(count) for size, count in sizes.items()},
    )
