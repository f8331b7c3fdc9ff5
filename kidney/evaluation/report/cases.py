"""The cases of the report: who is taken for whom, the worst scans, and behaviour by group."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from kidney.artifact.overlay import png_bytes, within
from kidney.evaluation.report.examples import MOST, Example
from kidney.evaluation.report.wording import NOTHING, Result, number
from kidney.reporting.html import beside, heat_table, picture, prose, table
from kidney.reporting.labels import figure_name

_SIDE = 280  # pixels of a picture


def confusions(result: Result) -> str:
    """Who is taken for whom, by slice and by scan."""
    parts = [
        f"<h3>{title}</h3>{confusion_table(result[key], result['classes'])}"
        for title, key in (("By slice", "confusion"), ("By scan", "scan_confusion"))
    ]
    return beside(*parts) + prose(
        "True class in rows, most probable class in columns; below the count its share of the row."
    )


def confusion_table(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> str:
    """Counts of true classes (rows) called something (columns), with their share of the row."""
    rows = []
    for row in counts:
        total = sum(row)
        rows.append(
            [(f"{n:,}", f"{n / total:.0%}", n / total) if total else ("0", NOTHING, 0) for n in row]
        )
    return heat_table("is / called", classes, rows)


def worst_scans(result: Result, said: pd.DataFrame, examples: Sequence[Example]) -> str:
    """The scans whose true class got the lowest probability, with a slice of each."""
    worst = result["scans_ranked"][:MOST]
    rows = [
        (scan["scan"], scan["label"], scan["says"], number(float(scan["probability"])),
         number(scan["slices"]))
        for scan in worst
    ]  # fmt: skip
    header = ["scan", "is", "called", "probability of the truth", "slices"]
    wrong = sum(scan["says"] != scan["label"] for scan in result["scans_ranked"])
    text = (
        f"{wrong:,} of {result['scans']:,} scans get a wrong answer. Below are the "
        f"{len(worst)} worst, right or wrong."
    )
    html = prose(text) + table(header, rows)
    if not examples:
        return html + prose("No pictures were kept for this evaluation.")
    shown = [_example(example, said, result["classes"]) for example in examples]
    return html + prose(
        "The most wrong slice of each: on the left as the model got it, on the right with the "
        "evidence for the class that it calls most probable, the brighter the stronger."
    ) + beside(*shown)  # fmt: skip


def _example(example: Example, said: pd.DataFrame, classes: Sequence[str]) -> str:
    row = said.iloc[example.row]
    probabilities = row[list(classes)].to_numpy(np.float64)
    told = classes[int(probabilities.argmax())]
    grey, overlay = within(example.slice, _SIDE), within(example.overlay, _SIDE)
    pair = np.hstack([np.repeat(grey[:, :, None], 3, axis=2), overlay])
    caption = (
        f"Scan {row['scan']}, {_file_name(str(row['path']))}: is {row['label']}, most probable "
        f"{told} ({probabilities.max():.0%}), {row['label']} {row[row['label']]:.0%}. "
        f"Decision: {str(row['decision']).replace('_', ' ')}. Prediction set: "
        f"{', '.join(str(row['set']).split())}."
    )
    return picture(png_bytes(pair), caption)


def _file_name(path: str) -> str:
    return path.rpartition("/")[2]


def groups(result: Result) -> str:
    """Behaviour by phase, view and size."""
    parts = [
        prose(
            "Contrast phase, view and picture size are no findings, but they may differ between "
            "classes, and a model can score by reading them. A model that reads the finding does "
            "about as well in every group; few scans make a row uncertain, so they are counted."
        )
    ]
    for title, rows_of in result["groups"].items():
        names = list(next(iter(rows_of.values()))["figures"]) if rows_of else []
        rows = [
            (value, number(group["scans"]), number(group["slices"]),
             *(number(group["figures"][name]) for name in names))
            for value, group in rows_of.items()
        ]  # fmt: skip
        header = [title, "scans", "slices", *map(figure_name, names)]
        parts.append(table(header, rows))
    return "".join(parts)
