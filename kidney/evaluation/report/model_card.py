"""The model card of an evaluation, for people who decide whether to use a model and for machines.

Its sections are those of Mitchell et al., Model Cards for Model Reporting (FAT* 2019). Every figure
is taken out of the result that the report is made of, so card and page cannot disagree.
"""

from collections.abc import Mapping
from typing import Any

from kidney.evaluation.report.wording import (
    EXTERNAL,
    INTERVALS,
    LEAKY,
    MEANINGS,
    Result,
    number,
    summary,
    value_and_interval,
)
from kidney.reporting.labels import figure_name
from kidney.reporting.markdown import bullets, document, table, text

USE = (
    "Research on CT slices of the kidney, 8-bit grey. It supports readers who also see the images; "
    "it is no medical device and makes no diagnosis."
)
_NOT_FOR = (
    "Diagnosis, triage or treatment; images other than CT of the abdomen; patients unlike those of "
    "the evaluation data."
)
_ETHICS = (
    "A missed tumour can cost a life and a false alarm an operation: an answer must never stand "
    "without a radiologist. Age, sex and origin of the patients are not known, so nobody can tell "
    "whether some of them are served worse."
)
CAVEATS = (
    "Contrast phase, view and size differ between the classes of the public set, and a model can "
    "score by reading these; compare the groups.",
    "Where the files do not tell whose a scan is, each scan counts as a patient of its own.",
    "The intervals say how figures would change with other patients, not with another training or "
    "another hospital.",
)
_WITHHELD = (
    "Figures of a split with slices of one scan in training and test measure memory, not medicine; "
    "they are never shown alone."
)
_TABLES = {
    "figures": "By slice",
    "scan_figures": "By whole scan",
    "localisation": "Localisation of the evidence",
    "ood": "Out of distribution",
}


def model_card(result: Result) -> dict[str, Any]:
    """Return the card as a JSON-ready dict, a key a section.

    Args:
        result: what `evaluate` returned, with "model", "data" and "split" added, and
            "localisation" and "ood" where measured. The card of a leaky split has no figures.
    """
    leaky = result["split"]["name"] == LEAKY
    elsewhere = result["split"]["name"] == EXTERNAL
    return {
        "model_details": {
            **result["model"],
            "classes": result["classes"],
            "type": "backbone, mean over places, one linear layer; a map of evidence that adds up "
            "to each class's logit",
        },
        "intended_use": {"use": USE, "out_of_scope": _NOT_FOR},
        "factors": {title: list(groups) for title, groups in result["groups"].items()},
        "metrics": {"meanings": dict(MEANINGS), "intervals": INTERVALS},
        "evaluation_data": {
            "name": result["data"]["name"],
            "split": result["split"],
            **{key: result[key] for key in ("slices", "scans", "patients")},
            "slices_of_class": _of_class(result, "confusion"),
            "scans_of_class": _of_class(result, "scan_confusion"),
        },
        "training_data": "not known to this evaluation; the card inside the artifact names them"
        if elsewhere
        else result["data"],
        "quantitative_analyses": {"withheld": _WITHHELD} if leaky else _analyses(result),
        "ethical_considerations": _ETHICS,
        "caveats_and_recommendations": list(CAVEATS),
    }  # fmt: skip


def _of_class(result: Result, counts: str) -> dict[str, int]:
    rows = zip(result["classes"], result[counts], strict=True)
    return {name: sum(row) for name, row in rows}


def _analyses(result: Result) -> dict[str, Any]:
    found = {key: result[key] for key in (*_TABLES, "groups") if key in result}
    return {"summary": summary(result), **found}


def model_card_markdown(card: Mapping[str, Any]) -> str:
    """Return the card as Markdown.

    Args:
        card: what `model_card` returned.
    """
    title = f"Model card: {card['model_details']['backbone']}"
    return document(title, "", model_card_sections(card))


def model_card_sections(card: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return heading -> Markdown lines, in the order of Mitchell et al.

    Args:
        card: what `model_card` returned.
    """
    training = card["training_data"]
    return {
        "Model details": bullets(card["model_details"]),
        "Intended use": bullets(card["intended_use"]),
        "Factors": bullets(card["factors"]),
        "Metrics": [
            *bullets(card["metrics"]["meanings"]),
            "",
            text(card["metrics"]["intervals"]),
        ],
        "Evaluation data": bullets(card["evaluation_data"]),
        "Training data": [text(training)] if isinstance(training, str) else bullets(training),
        "Quantitative analyses": _markdown_analyses(card["quantitative_analyses"]),
        "Ethical considerations": [text(card["ethical_considerations"])],
        "Caveats and recommendations": [
            f"- {text(caveat)}" for caveat in card["caveats_and_recommendations"]
        ],
    }


def _markdown_analyses(analyses: Mapping[str, Any]) -> list[str]:
    if "withheld" in analyses:
        return [text(analyses["withheld"])]
    lines = [text(analyses["summary"])]
    for key, title in _TABLES.items():
        if key in analyses:
            lines += ["", f"### {title}", "", *figures_table(analyses[key])]
    for title, groups in analyses["groups"].items():
        names = list(next(iter(groups.values()))["figures"]) if groups else []
        rows = [
            (value, number(group["scans"]), number(group["slices"]),
             *(value_and_interval(group["figures"][name])[0] for name in names))
            for value, group in groups.items()
        ]  # fmt: skip
        header = [title, "scans", "slices", *map(figure_name, names)]
        lines += ["", f"### By {text(title)}", "", *table(header, rows)]
    return lines


def figures_table(figures: Mapping[str, Any]) -> list[str]:
    """Return the lines of a table: each figure, its value and its interval."""
    rows = [(figure_name(name), *value_and_interval(figure)) for name, figure in figures.items()]
    return table(["figure", "value", "95 % interval"], rows)
