"""DATA_CARD.md: what a manifest, its split and its validation show, for people who train on it.

The sections are those of Gebru et al., Datasheets for Datasets (CACM 2021), in
templates/data_card.md; what no file says of a set stands in templates/data_card_NAME.md. The YAML
block above them is what the Hugging Face Hub reads.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from huggingface_hub import DatasetCard, DatasetCardData
from markupsafe import Markup

from kidney.data.manifest import fingerprint
from kidney.data.split import Split, fold_of_slices
from kidney.data.validation.checks import LEVELS
from kidney.data.validation.confounders import KINDS, STRONG, by_scan
from kidney.data.validation.leakage import Leakage
from kidney.data.validation.report import ValidationReport
from kidney.errors import DataError
from kidney.reporting.markdown import card, table

_LEAKS = {
    "test slices with a near copy in training": "near_copies",
    "test slices whose nearest other slice is in training": "nearest_in_training",
    "right when the label of the nearest training slice is copied": "memory_accuracy",
    "right when the most frequent label is predicted": "majority_accuracy",
}


def data_card(
    name: str,
    slices: pd.DataFrame,
    rejected: pd.DataFrame,
    doubtful: pd.DataFrame,
    split: Split,
    report: ValidationReport,
    random: Leakage,
) -> str:
    """Return DATA_CARD.md.

    Args:
        name: of the set, that of its configuration, conf/data/NAME.yaml.
        slices: the manifest.
        rejected: what `read_rejected` gave.
        doubtful: what `read_boundaries` gave.
        split: what `read_split` gave.
        report: validation.json.
        random: what `measure_leakage` found for a random split of slices.

    Raises:
        DataError: the report is of another manifest, or of no split.
    """
    if report.data != fingerprint(slices) or report.leakage is None:
        raise DataError(
            f"Expected the validation of manifest {fingerprint(slices)} and its split, but got "
            f"that of {report.data}{'' if report.leakage else ' without a split'}.",
            "Run python scripts/validate.py with the same data=... again.",
        )
    counts = report.summary
    scans = slices.drop_duplicates("scan")
    ranked = sorted(report.findings, key=lambda finding: LEVELS.index(finding.level))
    unsure = {
        kind: int(slices["estimated"].str.contains(kind).sum()) for kind in ("phase", "plane")
    }
    return card(
        [f"data_card_{name}.md", "data_card.md"],
        DatasetCard,
        _metadata(name, counts.slices),
        name=name,
        report=report,
        split=split,
        classes=list(_class_rows(slices)),
        sizes=[(size, f"{count:,}") for size, count in counts.sizes.items()],
        refused=len(rejected),
        expected=int((rejected["expected"] == "yes").sum()),
        # Inferred patients have the name of their first scan.
        named=int((~scans["patient"].isin(scans["scan"])).sum()),
        doubtful=len(doubtful),
        least_sure=doubtful["confidence"].min(),
        estimated={KINDS[kind]: count for kind, count in unsure.items() if count},
        folds=_folds(slices, split),
        leaks=_leaks(split.name, report.leakage, random),
        biases=[
            (bias.title, f"{bias.effect:.2f}" + (" (large)" if bias.effect >= STRONG else ""),
             f"{bias.accuracy:.0%}")
            for bias in report.confounders
        ],
        findings=[(finding.level, finding.check, finding.message) for finding in ranked],
        origin=slices["origin"].iloc[0],
    )  # fmt: skip


def lesion_data_card(sources: str, slices: int, side: int) -> str:
    """Return DATA_CARD.md of a lesion model, which is trained on several sources.

    Args:
        sources: what they have, a table in Markdown.
        slices: how many they have together.
        side: of the cut-out in pixels.
    """
    return card(
        ["data_card_lesions.md"], DatasetCard, _metadata("lesions", slices),
        sources=Markup(sources), side=side,
    )  # fmt: skip


def _metadata(name: str, slices: int) -> DatasetCardData:
    sizes = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K"}
    return DatasetCardData(
        language="en",
        license="unknown",
        pretty_name=name,
        size_categories=[next((label for n, label in sizes.items() if slices < n), "n>100K")],
        task_categories=["image-classification"],
        tags=["medical", "computed-tomography", "kidney"],
    )


def _class_rows(slices: pd.DataFrame) -> Iterator[tuple[object, ...]]:
    scans = by_scan(slices)
    for label, of_class in slices.groupby("label"):
        each, looks = of_class.groupby("scan").size(), scans[scans["label"] == label]
        yield (
            label, f"{len(of_class):,}", f"{len(each):,}",
            f"{each.min()} / {np.median(each):g} / {each.max()}",
            int((looks["phase"] == "enhanced").sum()), int((looks["plane"] == "axial").sum()),
        )  # fmt: skip


def _folds(slices: pd.DataFrame, split: Split) -> Markup:
    fold = fold_of_slices(slices, split)
    scans = slices.groupby(["label", fold])["scan"].nunique().unstack(fill_value=0)
    rows = [(label, *row) for label, row in zip(scans.index, scans.to_numpy(), strict=True)]
    return table(["class", *(f"fold {number}" for number in scans.columns)], rows)


def _leaks(name: str, own: Leakage, random: Leakage) -> Markup:
    rows = [
        (title, f"{getattr(own, key):.1%}", f"{getattr(random, key):.1%}")
        for title, key in _LEAKS.items()
    ]
    return table(["each fold tested once", f"split {name}", "random split of slices"], rows)
