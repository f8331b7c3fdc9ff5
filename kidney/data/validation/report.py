"""The validation page: what to know before training, the checks, and pictures to judge by eye."""

import io
import os
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from kidney.data.validation.checks import Finding
from kidney.data.validation.confounders import Confounder
from kidney.data.validation.leakage import Leakage, Pair
from kidney.reporting.html import note, page, picture, strips, table

_SCANS_SHOWN = 8


def report_page(
    name: str,
    slices: pd.DataFrame,
    thumbnails: NDArray[np.uint8],
    counts: Mapping[str, Any],
    found: Sequence[Finding],
    biases: Sequence[Confounder],
    leakage: Leakage | None,
    twins: Sequence[Pair],
    parts: pd.Series | None,
    doubtful: pd.DataFrame,
) -> str:
    """Return the validation report as HTML.

    Args:
        name: of the data set.
        slices: the manifest.
        thumbnails: uint8 (N, 96, 96), row by row those of `slices`.
        counts: what `summary` returned.
        found: what `findings` and `split_findings` returned.
        biases: what `confounders` returned.
        leakage: what `measure_leakage` returned; None where nothing can be dealt.
        twins: what `across_labels` returned.
        parts: part of each slice in the chosen fold; None where nothing can be dealt.
        doubtful: what `boundaries` returned, least sure first.
    """
    # Archives nest their folders; what all paths begin with tells nobody anything.
    shared = os.path.commonpath(list(slices["path"].map(os.path.dirname)))
    prefix = f"{shared}/" if shared else ""
    slices = slices.assign(path=slices["path"].str.removeprefix(prefix))
    failed = [finding["check"] for finding in found if finding["level"] == "fail"]
    verdict = (
        f"FAILS: {'; '.join(failed)}."
        if failed
        else "Passes every check that would stop a training."
    )
    lead = (
        f"{verdict} {counts['slices']:,} slices of {counts['scans']} scans. Slices of one scan are "
        "near copies of each other, so the number of scans is the size of this set."
    )
    notes = "".join(
        note(f["level"], f["check"], f["says"], "" if f["level"] == "ok" else f["remedy"],
             [example.replace(prefix, "") for example in f["examples"]])
        for f in sorted(found, key=lambda f: ("fail", "warn", "ok").index(f["level"]))
        if f["level"] != "ok" or f["about"] == "split"
    )  # fmt: skip
    passed = [(f["level"], f["check"], f["says"]) for f in found if f["level"] == "ok"]
    sections = [
        ("Read this first", notes),
        ("What else tells the label", _bias_section(biases)),
        ("Classes and parts", _class_table(slices, parts)),
        ("What the slices look like", _sheets(slices, thumbnails)),
        ("Test slices and their nearest slices in training",
         _pair_sheet(
             slices, thumbnails, leakage.pairs if leakage else (), "No test slice has a near copy."
         )),
        ("The least sure decisions of scan inference",
         _doubt_section(slices, thumbnails, doubtful, prefix)),
        ("Nearly the same picture under two labels",
         _pair_sheet(slices, thumbnails, twins[:_SCANS_SHOWN], "None.")),
        ("What passed", table(["", "check", "result"], passed)),
        ("Sizes in pixels", table(["width x height", "slices"], list(counts["sizes"].items()))),
    ]  # fmt: skip
    return page(f"Validation of {name}", lead, sections)


def _bias_section(biases: Sequence[Confounder]) -> str:
    rows = [
        (b.title, f"{b.effect:.2f}", f"{b.accuracy:.0%}", f"{b.majority:.0%}", b.sentence())
        for b in biases
    ]
    charts = [
        f"<h3>{escape(bias.title)}</h3>{strips(bias.values)}" for bias in biases if bias.values
    ]
    header = ["property of a scan", "effect size", "label guessed from it", "from nothing",
              "where it lies"]  # fmt: skip
    note = (
        "<p>One value a scan. 0.1 is a small effect, 0.3 a medium one, 0.5 a large one. Phase and "
        "view are estimated from the pictures where the files do not state them.</p>"
    )
    return note + table(header, rows) + "".join(charts)


def _class_table(slices: pd.DataFrame, parts: pd.Series | None) -> str:
    rows = []
    for label, of_class in slices.groupby("label"):
        scans = of_class.drop_duplicates("scan")
        dealt = {} if parts is None else of_class["patient"].groupby(parts).nunique().to_dict()
        rows.append(
            (label, len(of_class), len(scans), int((scans["phase"] == "enhanced").sum()),
             int((scans["view"] == "axial").sum()),
             *(dealt.get(part, 0) for part in ("train", "val", "test")))
        )  # fmt: skip
    header = ["class", "slices", "scans", "enhanced", "axial", "patients in training",
              "validation", "test"]  # fmt: skip
    return table(header, rows)


def _sheets(slices: pd.DataFrame, thumbnails: NDArray[np.uint8]) -> str:
    shown = []
    for label, of_class in slices.groupby("label"):
        scans = of_class["scan"].unique()
        chosen = scans[np.linspace(0, len(scans) - 1, min(_SCANS_SHOWN, len(scans))).astype(int)]
        middles = [rows.index[len(rows) // 2] for _, rows in of_class.groupby("scan", sort=False)
                   if rows["scan"].iloc[0] in set(chosen)]  # fmt: skip
        places = slices.index.get_indexer(pd.Index(middles))
        sheet = np.hstack([thumbnails[place] for place in places])
        shown.append(picture(png(sheet), f"{label}: the middle slice of {len(places)} scans"))
    return "".join(shown)


def _doubt_section(
    slices: pd.DataFrame, thumbnails: NDArray[np.uint8], doubtful: pd.DataFrame, prefix: str
) -> str:
    if doubtful.empty:
        return "<p>None: the files name their scans, or the pictures leave no doubt.</p>"
    row_of = {path: row for row, path in enumerate(slices["path"])}
    for end in ("before", "after"):
        doubtful = doubtful.assign(**{end: doubtful[end].str.removeprefix(prefix)})
        doubtful = doubtful[doubtful[end].isin(row_of)]
    shown = doubtful.head(_SCANS_SHOWN)
    if shown.empty:
        return "<p>None of the slices that are left.</p>"
    sheet = np.hstack(
        [
            np.vstack([thumbnails[row_of[pair.before]], thumbnails[row_of[pair.after]]])
            for pair in shown.itertuples()
        ]
    )
    rows = [
        (pair.decision, f"{pair.confidence:.2f}", f"{pair.similarity:.2f}", pair.before, pair.after)
        for pair in shown.itertuples()
    ]
    note = (
        "<p>Nobody gave scan or patient ids for these slices; numbers and likeness had to do. Each "
        "column is one decision: cut into two scans, joined or linked to one, or paired to one "
        "patient. Put wrong ones right with data.labels; boundaries.csv has them all.</p>"
    )
    header = ["decision", "confidence", "similarity", "above", "below"]
    return note + picture(png(sheet), "least sure first") + table(header, rows)


def _pair_sheet(
    slices: pd.DataFrame, thumbnails: NDArray[np.uint8], pairs: Sequence[Pair], nothing: str
) -> str:
    if not pairs:
        return f"<p>{escape(nothing)}</p>"
    sheet = np.hstack([np.vstack([thumbnails[a], thumbnails[b]]) for a, b, _ in pairs])
    names = "; ".join(
        f"{slices['path'].iloc[a]} above {slices['path'].iloc[b]}, correlation {alike:.2f}"
        for a, b, alike in pairs
    )
    return picture(png(sheet), names)


def png(grey: NDArray[np.uint8]) -> bytes:
    """Encode uint8 (H, W) as PNG."""
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(grey)).save(out, "PNG")
    return out.getvalue()
