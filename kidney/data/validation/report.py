"""The validation report: validation.json, and the page with pictures to judge by eye."""

import io
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from kidney.data.validation.checks import LEVELS, Finding, Summary
from kidney.data.validation.confounders import Confounder
from kidney.data.validation.leakage import Leakage, Pair
from kidney.plots.charts import dots
from kidney.plots.style import svg
from kidney.reporting.html import page, picture

_SCANS_SHOWN = 8


@dataclass(frozen=True)
class ValidationReport:
    """What was found.

    Attributes:
        data: fingerprint of the manifest.
        summary: counts.
        findings: of `findings` and `split_findings`.
        confounders: strongest first.
        leakage: of the split; None where none can be made.
    """

    data: str
    summary: Summary
    findings: list[Finding]
    confounders: list[Confounder]
    leakage: Leakage | None

    def failed(self) -> list[Finding]:
        """Return what must stop a training."""
        return [finding for finding in self.findings if finding.level == "fail"]

    def to_json(self) -> str:
        """Return validation.json."""
        return json.dumps(asdict(self), indent=1) + "\n"


def report_page(
    name: str,
    report: ValidationReport,
    slices: pd.DataFrame,
    thumbnails: NDArray[np.uint8],
    near_duplicates: Sequence[Pair],
    parts: pd.Series | None,
    doubtful: pd.DataFrame,
) -> str:
    """Return the validation report as HTML.

    Args:
        name: of the data set.
        report: what was found.
        slices: the manifest.
        thumbnails: uint8 (N, 96, 96), row by row those of `slices`.
        near_duplicates: what `across_labels` returned.
        parts: part of each slice in the chosen fold; None where there is no split.
        doubtful: what `boundaries` returned, least sure first.
    """
    # Archives nest their folders; what all paths begin with says nothing.
    shared = os.path.commonpath(list(slices["path"].map(os.path.dirname)))
    prefix = f"{shared}/" if shared else ""
    slices = slices.assign(path=slices["path"].str.removeprefix(prefix))
    counts = report.summary
    failed = "; ".join(finding.check for finding in report.failed())
    verdict = f"FAILS: {failed}." if failed else "Passes every check that would stop a training."
    pairs = report.leakage.pairs if report.leakage else ()
    ranked = sorted(report.findings, key=lambda finding: LEVELS.index(finding.level))
    doubts = _doubts(slices, doubtful, prefix)
    return page(
        "validation.html",
        title=f"Validation of {name}",
        lead=f"{verdict} {counts.slices:,} slices of {counts.scans} scans. Slices of one scan are "
        "near copies of each other, so the number of scans is the size of this set.",
        prefix=prefix,
        report=report,
        notes=[one for one in ranked if one.level != "ok" or one.about == "split"],
        charts=[
            (bias.title, svg(dots(bias.values, ""), _counts_of(bias)))
            for bias in report.confounders
            if bias.values
        ],
        classes=list(_class_rows(slices, parts)),
        sheets=list(_sheets(slices, thumbnails)),
        leaking=_pair_sheet(slices, thumbnails, pairs),
        doubtful=len(doubtful),
        doubts=doubts.itertuples(),
        doubt_sheet=_doubt_sheet(slices, thumbnails, doubts),
        near_duplicates=_pair_sheet(slices, thumbnails, near_duplicates[:_SCANS_SHOWN]),
    )


def _counts_of(bias: Confounder) -> str:
    return "; ".join(f"{label}: {len(values)} values" for label, values in bias.values.items())


def _class_rows(slices: pd.DataFrame, parts: pd.Series | None) -> Iterator[tuple[object, ...]]:
    for label, of_class in slices.groupby("label"):
        scans = of_class.drop_duplicates("scan")
        patients = {} if parts is None else of_class["patient"].groupby(parts).nunique().to_dict()
        looks = ((scans["phase"] == "enhanced").sum(), (scans["plane"] == "axial").sum())
        of_parts = (patients.get(part, 0) for part in ("train", "val", "test"))
        yield label, len(of_class), len(scans), *looks, *of_parts


def _sheets(slices: pd.DataFrame, thumbnails: NDArray[np.uint8]) -> Iterator[Markup]:
    for label, of_class in slices.groupby("label"):
        scans = of_class["scan"].unique()
        chosen = scans[np.linspace(0, len(scans) - 1, min(_SCANS_SHOWN, len(scans))).astype(int)]
        middles = [
            rows.index[len(rows) // 2]
            for scan, rows in of_class.groupby("scan", sort=False)
            if scan in set(chosen)
        ]
        positions = slices.index.get_indexer(pd.Index(middles))
        sheet = np.hstack([thumbnails[position] for position in positions])
        yield picture(png(sheet), f"{label}: the middle slice of {len(positions)} scans")


def _doubts(slices: pd.DataFrame, doubtful: pd.DataFrame, prefix: str) -> pd.DataFrame:
    """Return the least sure decisions of scan inference about slices that are still there."""
    for end in ("before", "after"):
        doubtful = doubtful.assign(**{end: doubtful[end].str.removeprefix(prefix)})
        doubtful = doubtful[doubtful[end].isin(slices["path"])]
    return doubtful.head(_SCANS_SHOWN)


def _doubt_sheet(
    slices: pd.DataFrame, thumbnails: NDArray[np.uint8], doubts: pd.DataFrame
) -> Markup | None:
    row_of = {path: row for row, path in enumerate(slices["path"])}
    pairs = [(row_of[one.before], row_of[one.after]) for one in doubts.itertuples()]
    return picture(png(_stacked(thumbnails, pairs)), "least sure first") if pairs else None


def _pair_sheet(
    slices: pd.DataFrame, thumbnails: NDArray[np.uint8], pairs: Sequence[Pair]
) -> Markup | None:
    if not pairs:
        return None
    names = "; ".join(
        f"{slices['path'].iloc[a]} above {slices['path'].iloc[b]}, correlation {correlation:.2f}"
        for a, b, correlation in pairs
    )
    return picture(png(_stacked(thumbnails, [(a, b) for a, b, _ in pairs])), names)


def _stacked(thumbnails: NDArray[np.uint8], pairs: Sequence[tuple[int, int]]) -> NDArray[np.uint8]:
    """Return pairs of thumbnails beside each other, the first of each above the second."""
    return np.hstack([np.vstack([thumbnails[a], thumbnails[b]]) for a, b in pairs])


def png(grey: NDArray[np.uint8]) -> bytes:
    """Encode uint8 (H, W) as PNG."""
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(grey)).save(out, "PNG")
    return out.getvalue()
