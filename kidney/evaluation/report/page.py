"""The report of one model: a page that a reader without statistics can judge it by."""

from collections.abc import Sequence

import pandas as pd

from kidney.evaluation.report import cases, sections
from kidney.evaluation.report.examples import Example
from kidney.evaluation.report.wording import LEAKY, Result, split_words, summary
from kidney.reporting.html import page, prose, table

_WITHHELD = (
    "Slices of one scan lie in training and test of this split, so its figures measure memory, not "
    "medicine. They are never shown alone."
)
_WHERE = (
    "They are in metrics.json, and in the report of the same model on a split by scan, beside the "
    "figures that count."
)


def report_page(
    result: Result,
    said: pd.DataFrame,
    examples: Sequence[Example],
    *,
    random: Result | None = None,
    external: Result | None = None,
) -> str:
    """Return the evaluation report as one HTML file that loads nothing.

    Args:
        result: what `evaluate` returned, with "model", "data" and "split" added, and
            "localisation" and "ood" where measured.
        said: the table of predictions that `result` was made of.
        examples: slices of the worst scans; see `kidney.evaluation.report.examples.worst_rows`.
        random: the result of the same recipe on the leaky split. A leaky result has no page of its
            own: what comes back for one says so and shows no figure.
        external: the result of the same model on a set from elsewhere.
    """
    title = f"Evaluation of {result['model']['backbone']} on {result['data']['name']}"
    lead = f"Run {result['model']['run']}, {split_words(result)}."
    if result["split"]["name"] == LEAKY:
        return page(title, lead, [("No figures here", prose(_WITHHELD, _WHERE))])
    parts = [("Summary", prose(summary(result, random)) + sections.headline(result))]
    if random is not None:
        parts.append(
            (
                "Random beside grouped: unseen patients and random slices",
                sections.beside_random(result, random),
            )
        )
    parts += [
        ("Each class against the rest", sections.class_curves(result)),
        ("Calibration", sections.calibration(result)),
        ("Operating points, prediction sets and review", sections.decisions(result)),
        ("Confusion by slice and by scan", cases.confusions(result)),
        ("Worst scans", cases.worst_scans(result, said, examples)),
        ("By phase, view and size", cases.groups(result)),
    ]
    if external is not None:
        parts.append(("On an outside set", sections.outside(result, external)))
    for key, heading in (
        ("localisation", "Localisation of the evidence"),
        ("ood", "Out of distribution"),
    ):
        if key in result:
            parts.append((heading, sections.measured(result[key])))
    parts += [
        ("Every figure, and what it means", sections.all_figures(result)),
        ("Where this comes from", _provenance(result)),
    ]
    return page(title, lead, parts)


def _provenance(result: Result) -> str:
    rows = [
        (f"{part}: {name}", str(value))
        for part in ("model", "data", "split")
        for name, value in result[part].items()
    ]
    return table(["", ""], rows)
