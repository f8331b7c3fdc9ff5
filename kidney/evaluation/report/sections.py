"""The figures of the report: each part of a result as HTML. Nothing is calculated here."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kidney.artifact.decision import findings
from kidney.evaluation.report.cases import confusion_table
from kidney.evaluation.report.charts import (
    Dot,
    Line,
    interval_chart,
    line_chart,
    reliability_chart,
)
from kidney.evaluation.report.wording import (
    INTERVALS,
    MEANINGS,
    Result,
    counts_words,
    number,
    of_hundred,
    value_and_interval,
)
from kidney.reporting.html import beside, prose, table
from kidney.reporting.labels import figure_name

_INTERVAL = "95 % interval"


def headline(result: Result) -> str:
    """The figures to quote: of all classes, then of each."""
    figures, by_scan = result["figures"], result["scan_figures"]
    whole = [
        (
            figure_name(name),
            value_and_interval(figures[name]),
            value_and_interval(by_scan[name]) if name in by_scan else "",
        )
        for name in ("macro_auroc", "balanced_accuracy", "accuracy", "ece", "set_coverage",
                     "answered", "answered_accuracy")
    ]  # fmt: skip
    scans_of = np.array(result["scan_confusion"]).sum(axis=1)
    of_class = [
        (
            (name, f"{scans:,} scans"),
            value_and_interval(figures[f"auroc_{name}"]),
            value_and_interval(figures[f"recall_{name}"]),
        )
        for name, scans in zip(result["classes"], scans_of, strict=True)
    ]
    note = (
        f"Beside the values are {INTERVALS} ({result['patients']:,}). A scan's answer is that of "
        "all its slices together; figures of single classes are of slices."
    )
    return (
        table(["", f"{result['slices']:,} slices", f"{result['scans']:,} whole scans"], whole)
        + beside(
            table(["class", "AUROC", "recall"], of_class),
            _operating_points(result),
        )
        + prose(note)
    )


def _operating_points(result: Result) -> str:
    figures = result["figures"]
    # Pooled folds have a threshold each.
    thresholds = result["rules"]["suspect_from"] if "rules" in result else {}
    rows = [
        (
            (name, f"from {number(thresholds[name])}") if name in thresholds else name,
            value_and_interval(figures[f"sensitivity_{name}"]),
            value_and_interval(figures[f"specificity_{name}"]),
        )
        for name in findings(result["classes"])
    ]
    return table(["operating point", "sensitivity", "specificity"], rows)


def beside_random(result: Result, random: Result) -> str:
    """The same recipe on slices dealt by patient and dealt at random, figure by figure."""
    pairs = [
        (name, figure, random["figures"].get(name)) for name, figure in result["figures"].items()
    ]
    rows = [
        (figure_name(name), value_and_interval(figure), value_and_interval(other))
        for name, figure, other in pairs
    ]
    shown = [
        (figure_name(name), figure, other)
        for name, figure, other in pairs
        if name in ("accuracy", "macro_auroc") or name.startswith(("recall_", "auroc_"))
    ]
    header = [
        "figure",
        f"unseen patients: {result['scans']:,} scans",
        f"random slices, leaking: {random['scans']:,} scans",
    ]
    meaning = prose(
        "Slices of one scan are near copies of each other. Dealt at random, every test slice has "
        "neighbours in training, and a model that remembers pictures passes; a new patient has no "
        "neighbours there.",
        "Only the figures of unseen patients say what to expect of a new one. Those of random "
        "slices are what is often published; they are shown to be compared, never to be quoted.",
        f"Filled dots: unseen patients. Hollow dots: random slices. Lines: {_INTERVAL}s.",
    )
    return beside(interval_chart(shown), meaning) + table(header, rows)


def class_curves(result: Result) -> str:
    """ROC and precision-recall of each class against the rest."""
    classes, figures, slices = result["classes"], result["figures"], result["slices"]
    sizes = np.array(result["confusion"]).sum(axis=1)
    roc, precision, dots = [], [], []
    for order, name in enumerate(classes):
        curve = result["curves"][name]
        value, interval = value_and_interval(figures[f"auroc_{name}"])
        note = f"AUROC {value} ({interval})" if interval else f"AUROC {value}"
        roc.append(Line(curve["fpr"], curve["tpr"], name, note))
        share = f"{sizes[order] / slices:.0%} of slices"
        precision.append(Line(curve["recall"], curve["precision"], name, share))
        sensitivity, specificity = (
            figures.get(f"{kind}_{name}", {"value": None})["value"]
            for kind in ("sensitivity", "specificity")
        )
        if sensitivity is not None and specificity is not None:
            dots.append(Dot(order, 1 - specificity, sensitivity))
    return beside(
        line_chart(
            "ROC curves: " + "; ".join(f"{line.name} {line.note}" for line in roc),
            "share of the other slices called it too",
            "share of the class that is found",
            roc,
            chance=True,
            dots=dots,
        ),
        line_chart(
            "Precision-recall curves: " + "; ".join(f"{line.name}" for line in precision),
            "share of the class that is found",
            "share of what is called it that is right",
            precision,
        ),
    ) + prose(
        "Each class against the rest, at every threshold on its probability. Dots on the left are "
        "the operating points. On the right guessing would run level at the class's share."
    )


def calibration(result: Result) -> str:
    """Reliability diagram, and what it comes to."""
    value, interval = value_and_interval(result["figures"]["ece"])
    chance, spread = value_and_interval(result["ece_by_chance"])
    text = prose(
        f"Expected calibration error {value} ({interval}): on average the probability that is told "
        "lies that far from the share that is right. So few patients would show an error of "
        f"{chance} ({spread}) by chance alone, were all probabilities true.",
        "Dots below the diagonal: too sure of itself; above: not sure enough. Bars show where the "
        "slices are.",
    )
    return beside(reliability_chart(result["reliability"]), text)


def decisions(result: Result) -> str:
    """Operating points, prediction sets, and what is left to a radiologist."""
    figures, curve = result["figures"], result["risk_coverage"]
    answering = [
        (figure_name(name), value_and_interval(figures[name]))
        for name in ("answered", "answered_accuracy", "aurc", "set_coverage", "set_size")
    ]
    highest = _ceiling(max(curve["risk"], default=0.0))
    risk = line_chart(
        "Risk-coverage curve: share of errors over the share of answers accepted",
        "share of answers accepted, most confident first",
        "share of these that is wrong",
        [Line(curve["coverage"], curve["risk"])],
        highest=highest,
        dots=_answered_dot(figures),
    )
    return (
        "<h3>Operating points</h3>"
        + prose(
            "From this probability on a finding cannot be excluded. The thresholds were chosen "
            "before these slices were looked at; this is what they reach here."
        )
        + _operating_points(result)
        + "<h3>Prediction sets and review</h3>"
        + beside(risk, table(["figure", "value"], answering) + prose(
            "The dot marks the share that the model answers by itself. To accept fewer answers "
            "must mean fewer errors among them, or the model does not know when it is wrong."
        ))
    )  # fmt: skip


def _answered_dot(figures: Mapping[str, Any]) -> list[Dot]:
    answered, right = figures["answered"]["value"], figures["answered_accuracy"]["value"]
    return [] if answered is None or right is None else [Dot(0, answered, 1 - right)]


def _ceiling(risk: float) -> float:
    return next(end for end in (0.1, 0.2, 0.5, 1.0) if risk <= end)


def outside(result: Result, external: Result) -> str:
    """The same model on a set from elsewhere, beside its own."""
    name = str(external["data"]["name"])
    rows = [
        (figure_name(key), value_and_interval(figure),
         value_and_interval(external["figures"].get(key)))
        for key, figure in result["figures"].items()
    ]  # fmt: skip
    header = ["figure", f"{result['data']['name']}: {result['scans']:,} scans",
              f"{name}: {external['scans']:,} scans"]  # fmt: skip
    accuracy = external["figures"]["accuracy"]
    right = (
        f": {of_hundred(accuracy, 'get the right class')}" if accuracy["value"] is not None else ""
    )
    text = (
        f"{counts_words(external)} of {name}{right}. Another hospital, other scanners and windows: "
        "closer to what a new user would see than any split of one set. Figures of classes that do "
        "not occur there are not defined."
    )
    return (
        prose(text)
        + table(header, rows)
        + "<h3>Confusion there, by slice</h3>"
        + confusion_table(external["confusion"], external["classes"])
    )


def measured(figures: Mapping[str, Any]) -> str:
    """A table of figures with or without intervals."""
    return table(
        ["figure", f"value, {_INTERVAL} where there is one"],
        [(figure_name(name), _plain_or_pair(figure)) for name, figure in figures.items()],
    )


def all_figures(result: Result) -> str:
    """Every figure of the result by slice and by scan, and what they mean."""
    parts = [
        f"<h3>{title}</h3>" + table(
            ["figure", f"value, {_INTERVAL}"],
            [(figure_name(name), value_and_interval(figure)) for name, figure in figures.items()],
        )
        for title, figures in (
            ("By slice", result["figures"]),
            ("By whole scan", result["scan_figures"]),
        )
    ]  # fmt: skip
    return beside(*parts) + "<h3>What they mean</h3>" + table(
        ["figure", "meaning"], list(MEANINGS.items())
    )  # fmt: skip


def _plain_or_pair(figure: Any) -> tuple[str, str] | str:
    value, interval = value_and_interval(figure)
    return (value, interval) if interval else value
