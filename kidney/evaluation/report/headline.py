"""The few figures that a model is known by, with how they came about, as a Markdown table."""

from collections.abc import Mapping
from typing import Any

from kidney.evaluation.metrics.bootstrap import Interval

_COLUMNS = {  # of `figures`; a set without one of these classes has no such figure
    "accuracy": "accuracy",
    "macro_auroc": "macro AUROC",
    "auroc_tumor": "tumour AUROC",
    "recall_tumor": "tumour recall",
    "sensitivity_tumor": "tumour suspected",
    "specificity_tumor": "others not suspected",
    "ece": "calibration error",
    "set_coverage": "sets that hold",
    "set_size": "classes a set",
}


def headline_table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a row for each result: by slice, and for the scans that it is about.

    Args:
        results: what a row is called -> what `evaluate` returned. Figures of random slices belong
            beside grouped ones and nowhere else.
    """
    lines = [
        "| " + " | ".join(["", "of", *_COLUMNS.values()]) + " |",
        "|" + "---|" * (2 + len(_COLUMNS)),
    ]
    for name, result in results.items():
        slices = f"{result['slices']:,} slices of {result['scans']} scans"
        lines.append(_row(name, slices, result["figures"]))
        lines.append(_row(name, f"{result['scans']} scans", result["scan_figures"]))
    return "\n".join(lines)


def _row(name: str, of: str, figures: Mapping[str, Interval]) -> str:
    return "| " + " | ".join([name, of, *(_cell(figures.get(key)) for key in _COLUMNS)]) + " |"


def _cell(figure: Interval | None) -> str:
    if figure is None or figure["value"] is None:
        return ""
    if figure["low"] is None:
        return f"{figure['value']:.3f}"
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"
