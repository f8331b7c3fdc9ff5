"""The report of one model: a page that a reader without statistics can judge it by."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray

from kidney.artifact.decision import findings
from kidney.artifact.overlay import evidence_overlay, png_bytes, within
from kidney.evaluation.report.wording import (
    INTERVALS,
    LEAKY,
    MEANINGS,
    counts_words,
    split_words,
    summary,
)
from kidney.evaluation.result import EvaluationResult
from kidney.plots.charts import Curve, intervals, reliability, unit_curves
from kidney.plots.style import NARROW, svg
from kidney.reporting.labels import figure_name, out_of_100, with_interval
from kidney.reporting.pages import page, picture

_REVIEW = ("answered", "answered_accuracy", "aurc", "set_coverage", "set_size")
MOST = 12  # a page that is still read to its end
_SIDE = 280  # pixels of a picture

# row, slice (H, W) -> evidence float32 (K, h, w), and the part of the slice that it covers: top,
# left, bottom and right in pixels
Explain = Callable[[int, NDArray[np.uint8]], tuple[NDArray[np.float32], Sequence[float]]]


class Example(NamedTuple):
    """One slice of the report."""

    row: int  # its position in the table of predictions
    slice: NDArray[np.uint8]  # uint8 (H, W)
    # uint8 (H, W, 3), RGB, over it the evidence for its most probable class
    overlay: NDArray[np.uint8]


def report_page(
    result: EvaluationResult,
    predictions: pd.DataFrame,
    examples: Sequence[Example],
    *,
    random: EvaluationResult | None = None,
    external: EvaluationResult | None = None,
) -> str:
    """Return the evaluation report as one HTML file that loads nothing.

    Args:
        random: the result of the same recipe on the leaky split. A leaky result has no page of its
            own: what comes back for one says so and shows no figure.
    """
    head = {
        "title": f"Evaluation of {result.model.backbone} on {result.data.name}",
        "lead": f"Run {result.model.run}, {split_words(result)}.",
        "leaky": result.split.name == LEAKY,
    }
    if head["leaky"]:
        return page("report.html", **head)
    return page(
        "report.html",
        **head,
        result=result,
        random=random,
        external=external,
        external_counts=_external_counts(external) if external else "",
        summary=summary(result, random),
        intervals=INTERVALS,
        findings=findings(result.classes),
        charts=dict(_charts(result, random)),
        review_figures={name: result.figures[name] for name in _REVIEW},
        wrong=sum(scan.predicted != scan.label for scan in result.scans_ranked),
        worst=result.scans_ranked[:MOST],
        pictures=[example_picture(one, predictions, result.classes) for one in examples],
        meanings=MEANINGS,
        provenance=list(_provenance(result)),
    )


def _charts(
    result: EvaluationResult, random: EvaluationResult | None
) -> Iterator[tuple[str, Markup]]:
    roc, precision = list(_roc(result)), list(_precision(result))
    figure = unit_curves(
        roc, "share of the other slices called it too", "share of the class that is found",
        chance=True,
    )  # fmt: skip
    listed = "; ".join(f"{curve.name} {curve.note}" for curve in roc)
    yield "roc", svg(figure, f"ROC curves: {listed}")
    figure = unit_curves(
        precision, "share of the class that is found", "share of what is called it that is right"
    )
    yield "precision", svg(figure, f"Precision-recall curves: {'; '.join(result.classes)}")
    bins = "; ".join(f"predicted {b.confidence:.2f}, right {b.accuracy:.2f}" for b in
                     result.reliability)  # fmt: skip
    yield "reliability", svg(reliability(result.reliability), f"Reliability: {bins}")
    yield "risk", _risk(result)
    if random:
        yield "random", _beside(result, random)


def _roc(result: EvaluationResult) -> Iterator[Curve]:
    for name, curve in result.curves.items():
        sensitivity, specificity = (
            result.known(kind, (name,)).get(name) if name in findings(result.classes) else None
            for kind in ("sensitivity", "specificity")
        )
        mark = None
        if sensitivity and specificity and sensitivity.value is not None:
            mark = (1 - (specificity.value or 0.0), sensitivity.value)
        note = f"AUROC {with_interval(result.figures[f'auroc_{name}'])}"
        yield Curve(curve.fpr, curve.tpr, name, note, mark)


def _precision(result: EvaluationResult) -> Iterator[Curve]:
    for (name, curve), counts in zip(result.curves.items(), result.confusion, strict=True):
        note = f"{sum(counts) / result.slices:.0%} of slices"
        yield Curve(curve.recall, curve.precision, name, note)


def _risk(result: EvaluationResult) -> Markup:
    answered, right = (result.figures[name].value for name in ("answered", "answered_accuracy"))
    mark = None if answered is None or right is None else (answered, 1 - right)
    curve = Curve(result.risk_coverage.coverage, result.risk_coverage.risk, mark=mark)
    most = max(curve.y, default=0.0)
    figure = unit_curves(
        [curve], "share of predictions accepted, most confident first",
        "share of these that is wrong",
        highest=next(end for end in (0.1, 0.2, 0.5, 1.0) if most <= end),
    )  # fmt: skip
    return svg(figure, "Risk-coverage curve: share of errors over the share accepted")


def _beside(result: EvaluationResult, random: EvaluationResult) -> Markup:
    shown = [
        name
        for name in result.figures
        if name in ("accuracy", "macro_auroc") or name.startswith(("recall_", "auroc_"))
    ]
    whose = {"unseen patients": result.figures, "random slices": random.figures}
    rows = {
        figure_name(name): {who: figures.get(name) for who, figures in whose.items()}
        for name in shown
    }
    listed = "; ".join(
        f"{title}: " + ", ".join(f"{with_interval(figure)} {who}" for who, figure in row.items())
        for title, row in rows.items()
    )
    return svg(intervals(rows, "figure, 95 % interval", NARROW), listed)


def _external_counts(external: EvaluationResult) -> str:
    accuracy = external.figures["accuracy"]
    right = f": {out_of_100(accuracy, 'get the right class')}" if accuracy.value is not None else ""
    return f"{counts_words(external)} of {external.data.name}{right}"


def _provenance(result: EvaluationResult) -> Iterator[tuple[str, str]]:
    for part in ("model", "data", "split"):
        for name, value in getattr(result, part).model_dump(exclude_unset=True).items():
            yield f"{part}: {name}", str(value)


def worst_examples(
    result: EvaluationResult,
    predictions: pd.DataFrame,
    slice_of: Callable[[int], NDArray[np.uint8]],
    explain: Explain,
) -> list[Example]:
    """Return the worst slice of each of the worst scans with its evidence.

    Args:
        explain: row and slice -> evidence of the K classes and where it lies; of a table of pooled
            folds, by the model of the row's fold.
    """
    examples = []
    for row in (scan.row for scan in result.scans_ranked[:MOST]):
        slice_ = slice_of(row)
        evidence, region = explain(row, slice_)
        predicted = int(predictions[list(result.classes)].iloc[row].to_numpy(np.float64).argmax())
        strongest = float(evidence.max())
        overlay = evidence_overlay(slice_, evidence[predicted], strongest, region=region)
        examples.append(Example(row, slice_, overlay))
    return examples


def example_picture(example: Example, predictions: pd.DataFrame, classes: Sequence[str]) -> Markup:
    """Return an HTML figure: the slice, its overlay, and what was predicted for it."""
    row = predictions.iloc[example.row]
    probabilities = row[list(classes)].to_numpy(np.float64)
    predicted = classes[int(probabilities.argmax())]
    grey, overlay = within(example.slice, _SIDE), within(example.overlay, _SIDE)
    pair = np.hstack([np.repeat(grey[:, :, None], 3, axis=2), overlay])
    caption = (
        f"Scan {row['scan']}, {str(row['path']).rpartition('/')[2]}: is {row['label']}, most "
        f"probable {predicted} ({probabilities.max():.0%}), {row['label']} "
        f"{row[row['label']]:.0%}. Decision: {str(row['decision']).replace('_', ' ')}. Prediction "
        f"set: {', '.join(str(row['set']).split())}."
    )
    return picture(png_bytes(pair), caption)
