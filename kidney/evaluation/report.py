"""The figures of one model as JSON for machines and a page for people."""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray

from kidney.evaluation.bootstrap import intervals_over_scans
from kidney.evaluation.metrics import confusion, figures
from kidney.page import page, picture, table

matplotlib.use("Agg")
from matplotlib import pyplot as plt

_LEAKS = {
    "leaky": "SLICES OF ONE SCAN LIE IN TRAINING AND TEST: these figures measure memory, not "
    "medicine. ",
    "external": "Slices from elsewhere; nobody knows whether training saw them. ",
}
_NAMES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "macro_auroc": "Macro AUROC",
    "loss": "Loss (cross-entropy, nats)",
    "recall": "Recall",
    "auroc": "AUROC",
}


def evaluate(
    labels: NDArray[np.int64],
    probabilities: NDArray[np.floating],
    scans: NDArray[np.str_],
    classes: Sequence[str],
) -> dict[str, Any]:
    """Return figures with intervals over scans, counts and the confusion matrix."""

    def of_rows(rows: NDArray[np.int64]) -> dict[str, float]:
        return figures(labels[rows], probabilities[rows], classes)

    return {
        "classes": list(classes),
        "slices": len(labels),
        "scans": len(np.unique(scans)),
        "figures": intervals_over_scans(of_rows, scans, labels),
        "confusion": confusion(labels, probabilities).tolist(),
    }


def report_page(
    result: dict[str, Any], labels: NDArray[np.int64], probabilities: NDArray[np.floating]
) -> str:
    """Return the evaluation report as HTML.

    Args:
        result: what `evaluate` returned, with "model" and "split" added.
        labels: int64 (N,).
        probabilities: float (N, K).
    """
    split, model, classes = result["split"], result["model"], result["classes"]
    leak = _LEAKS.get(split["name"], "No scan of the test part was seen in training. ")
    lead = (
        f"{leak}Split {split['name']}, {_folds(split)}, part {split['part']}: "
        f"{result['slices']:,} slices of {result['scans']} scans. "
        f"Intervals hold 95 % of 1,000 resamples of whole scans.\n"
        f"Model {model['backbone']}, run {model['run']}."
    )
    rows = [
        (_name(name),
         *(("n/a",) * 2 if f["value"] is None
           else (f"{f['value']:.3f}", f"{f['low']:.3f} to {f['high']:.3f}")))
        for name, f in result["figures"].items()
    ]  # fmt: skip
    return page(
        f"Evaluation of {model['backbone']} on {result['data']['name']}",
        lead,
        [
            ("Figures", table(["figure", "value", "95 % interval over scans"], rows)),
            (
                "Confusion",
                picture(
                    confusion_picture(np.array(result["confusion"]), classes),
                    "True class in rows, most probable class in columns: slices, and share of row.",
                ),
            ),
            (
                "Each class against the rest",
                picture(
                    roc_picture(labels, probabilities, classes),
                    "Share of the class that is found against share of the rest that is "
                    "called it too, at every threshold.",
                ),
            ),
        ],
    )


def _folds(split: dict[str, Any]) -> str:
    fold, folds = split["fold"], split["folds"]
    if fold != "all":
        return f"fold {fold} of {folds}"
    return f"all {folds} folds pooled" if folds > 1 else "undivided"


def _name(figure: str) -> str:
    """Name a figure for people: recall_kidney_stone is the Recall of kidney_stone."""
    kind, _, of = figure.partition("_")
    return _NAMES.get(figure) or f"{_NAMES.get(kind, kind)} of {of}"


def confusion_picture(counts: NDArray[np.int64], classes: Sequence[str]) -> bytes:
    """Draw the confusion matrix (K, K) as a PNG."""
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, axes = plt.subplots(figsize=(5.2, 4.6), layout="constrained")
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(classes)), classes)
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("most probable class")
    axes.set_ylabel("true class")
    for (row, column), count in np.ndenumerate(counts):
        ink = "white" if share[row, column] > 0.55 else "#1b2733"
        text = f"{count}\n{share[row, column]:.0%}"
        axes.text(column, row, text, ha="center", va="center", color=ink)
    return _png(figure)


def roc_picture(
    labels: NDArray[np.int64], probabilities: NDArray[np.floating], classes: Sequence[str]
) -> bytes:
    """Draw the one-against-rest ROC curves as a PNG."""
    figure, axes = plt.subplots(figsize=(5.2, 4.6), layout="constrained")
    axes.plot([0, 1], [0, 1], color="#9aa7b2", linewidth=1, linestyle=":")
    for k, name in enumerate(classes):
        positive = labels == k
        if not positive.any() or positive.all():
            continue
        order = np.argsort(-probabilities[:, k], kind="stable")
        found = np.cumsum(positive[order]) / positive.sum()
        alarms = np.cumsum(~positive[order]) / (~positive).sum()
        axes.plot(np.r_[0, alarms], np.r_[0, found], label=name)
    axes.set_xlabel("share of the rest called this class")
    axes.set_ylabel("share of the class found")
    axes.legend(loc="lower right", frameon=False)
    return _png(figure)


def _png(figure: Any) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=140)
    plt.close(figure)
    return out.getvalue()
