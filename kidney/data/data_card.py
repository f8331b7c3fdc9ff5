"""DATA_CARD.md: what a manifest, its split and its validation say, for people who train on it.

The sections are those of Gebru et al., Datasheets for Datasets (CACM 2021). Counts are taken from
the manifest, findings from the validation report; what no file says stands in
`kidney.data.about`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from kidney.data.about import about
from kidney.data.manifest import fingerprint
from kidney.data.split import fold_of_slices
from kidney.data.validation.confounders import KINDS, STRONG, by_scan
from kidney.data.validation.leakage import Leakage
from kidney.errors import DataError
from kidney.reporting.markdown import document, table, text

_LEAD = (
    "`python scripts/cards.py` writes this file from the manifest, the split and the validation "
    "report; change those, not this. Slices of one scan are near copies of each other, so **the "
    "number of scans is the size of this set**."
)
_WHOSE = {
    True: "Nobody gave patient ids: a coronal scan is taken for the patient of the axial scan "
    "before it by number, any other scan stands for a patient, so two scans of one person may lie "
    "in training and in test.",
    False: "Patients are known for {known} of {scans} scans; any other scan stands for a patient.",
}
_INFERRED = (
    "Scans were inferred from file numbers and likeness: the next slice of a scan correlates with "
    "it, and across a boundary the likeness drops. {doubtful} decisions are listed in "
    "boundaries.csv, least sure first; the least sure has a confidence of {least:.2f}, where 0.5 "
    "is a toss of a coin."
)
_ESTIMATED = "{what} of {slices} slices is estimated from the picture, since no file states it."
_DECODED = (
    "Files are kept as they came. Each is decoded to 8-bit grey at its own size; DICOM and NIfTI "
    "go through a fixed window of Hounsfield units. Cut-out, resize and normalisation are layers "
    "of the model, so no prepared copy of the set exists. {refused} files were refused as no "
    "usable slices ({expected} of them by their nature, such as localizers)."
)
_USES = (
    "Comparing methods under splits by patient, with intervals over patients.",
    "Not for: figures on random slices; claims about prevalence, a hospital or single patients; "
    "diagnosis.",
)
_MAINTENANCE = (
    "Wrong labels, scans and patients are put right in a table (`data.labels`), which wins over "
    "what was read or inferred; the fingerprint below changes with every slice, label, scan and "
    "patient, and a split or a model that was made for another one is refused."
)
_BIASES = (
    "A model can score by reading these instead of the finding. Effect size: 0.1 is small, 0.3 "
    "medium, 0.5 large, 1 tells the label alone. The guess is the label read off this property, "
    "per scan; from nothing, the most frequent label is right for {majority:.0%}."
)


def data_card(
    name: str,
    slices: pd.DataFrame,
    rejected: pd.DataFrame,
    doubtful: pd.DataFrame,
    split: Mapping[str, Any],
    report: Mapping[str, Any],
    leaky: Leakage,
) -> str:
    """Return DATA_CARD.md.

    Args:
        name: of the set.
        slices: the manifest.
        rejected: what `read_rejected` gave.
        doubtful: what `read_boundaries` gave.
        split: what `read_split` gave.
        report: validation.json.
        leaky: what `measure_leakage` found if slices were dealt at random.

    Raises:
        DataError: the report is of another manifest.
    """
    if report["data"] != fingerprint(slices):
        raise DataError(
            f"Expected the validation of manifest {fingerprint(slices)}, but got that of "
            f"{report['data']}.",
            "Run python scripts/validate.py with the same data=... again.",
        )
    known = about(name)
    sections = {
        "Motivation": [text(known.motivation)],
        "Composition": [*_composition(slices, report), "", text(known.personal)],
        "Collection": [text(known.collection)],
        "Preprocessing and labels": [
            text(_decoded(rejected)),
            "",
            *(f"- {text(line)}" for line in _told_or_not(slices, doubtful)),
        ],
        "Uses": [f"- {text(use)}" for use in _USES],
        "Distribution": [text(known.distribution)],
        "Splits": list(_splits(slices, split, report, leaky)),
        "Known biases": [*_biases(report), *(f"- {text(bias)}" for bias in known.biases)],
        "Findings of the validation": _findings(report),
        "Maintenance": [
            _MAINTENANCE,
            "",
            f"Source {text(slices['origin'].iloc[0])}, fingerprint {fingerprint(slices)}.",
        ],
    }
    return document(f"Data card: {name}", _LEAD, sections)


def _composition(slices: pd.DataFrame, report: Mapping[str, Any]) -> Iterator[str]:
    counts = report["summary"]
    yield (
        f"{counts['slices']:,} slices of {counts['scans']:,} scans of {counts['patients']:,} "
        f"patients in {len(counts['classes'])} classes."
    )
    scans = by_scan(slices)
    rows = []
    for label, of_class in slices.groupby("label"):
        each, looks = of_class.groupby("scan").size(), scans[scans["label"] == label]
        rows.append(
            (label, f"{len(of_class):,}", f"{len(each):,}",
             f"{each.min()} / {np.median(each):g} / {each.max()}",
             int((looks["phase"] == "enhanced").sum()), int((looks["view"] == "axial").sum()))
        )  # fmt: skip
    header = ["class", "slices", "scans", "slices a scan (fewest / median / most)",
              "enhanced scans", "axial scans"]  # fmt: skip
    yield from ("", *table(header, rows), "")
    sizes = [(size, f"{count:,}") for size, count in counts["sizes"].items()]
    yield from table(["width x height in pixels", "slices"], sizes)


def _decoded(rejected: pd.DataFrame) -> str:
    expected = int((rejected["expected"] == "yes").sum())
    return _DECODED.format(refused=f"{len(rejected):,}", expected=f"{expected:,}")


def _told_or_not(slices: pd.DataFrame, doubtful: pd.DataFrame) -> Iterator[str]:
    of_scan = slices.drop_duplicates("scan")
    # Inferred patients have the name of their first scan.
    named = int((~of_scan["patient"].isin(of_scan["scan"])).sum())
    yield _WHOSE[named == 0].format(known=named, scans=len(of_scan))
    if len(doubtful):
        yield _INFERRED.format(
            doubtful=f"{len(doubtful):,}", least=float(doubtful["confidence"].min())
        )
    for what in ("phase", "view"):
        if count := int(slices["estimated"].str.contains(what).sum()):
            yield _ESTIMATED.format(what=KINDS[what], slices=f"{count:,}")


def _splits(
    slices: pd.DataFrame, split: Mapping[str, Any], report: Mapping[str, Any], leaky: Leakage
) -> Iterator[str]:
    yield text(
        f"Split {split['name']}: every {split['unit']} is dealt into one of {split['folds']} folds "
        f"by label, contrast phase and view (seed {split['seed']}). Scans of each class in a fold:"
    )
    fold = fold_of_slices(slices, split)
    scans = slices.groupby(["label", fold])["scan"].nunique().unstack(fill_value=0)
    rows = [(label, *row) for label, row in zip(scans.index, scans.to_numpy(), strict=True)]
    yield from ("", *table(["class", *(f"fold {number}" for number in scans.columns)], rows), "")
    own = report["leakage"]
    header = ["each fold tested once", f"split {split['name']}", "slices dealt at random"]
    measured = [
        ("test slices with a near copy in training", "near_copies"),
        ("test slices whose nearest other slice is in training", "nearest_in_training"),
        ("right when the label of the nearest training slice is copied", "memory_accuracy"),
        ("right when the most frequent label is told", "majority_accuracy"),
    ]
    yield from table(
        header,
        [(told, f"{own[key]:.1%}", f"{getattr(leaky, key):.1%}") for told, key in measured],
    )
    yield from (
        "",
        "Copying the label of the nearest thumbnail knows no medicine. Where it scores high, any "
        "figure of that split is a figure of memory.",
    )


def _biases(report: Mapping[str, Any]) -> Iterator[str]:
    biases = report["confounders"]
    if not biases:
        return
    yield text(_BIASES.format(majority=biases[0]["majority"]))
    rows = [
        (bias["title"], f"{bias['effect']:.2f}" + (" (large)" if bias["effect"] >= STRONG else ""),
         f"{bias['accuracy']:.0%}")
        for bias in biases
    ]  # fmt: skip
    yield from (
        "",
        *table(["property of a scan", "effect size", "label guessed from it"], rows),
        "",
    )


def _findings(report: Mapping[str, Any]) -> list[str]:
    rows = [(found["level"], found["check"], found["says"]) for found in report["findings"]]
    ranked = sorted(rows, key=lambda row: ("fail", "warn", "ok").index(row[0]))
    return table(["", "check", "result"], ranked)
