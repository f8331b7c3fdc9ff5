"""Model cards: of an evaluation, and of a kidney.onnx with its evaluation (MODEL_CARD.md).

The sections are those of Mitchell et al., Model Cards for Model Reporting (FAT* 2019), in
templates/model_card.md; the YAML block above them is what the Hugging Face Hub reads. Every figure
is taken out of the result that the report is made of, so card and page cannot disagree.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from huggingface_hub import ModelCard as HubCard
from markupsafe import Markup

from kidney.artifact.__main__ import card_sections
from kidney.artifact.card import ModelCard
from kidney.errors import ArtifactError
from kidney.evaluation.report.wording import (
    EXTERNAL,
    INTERVALS,
    LEAKY,
    MEANINGS,
    split_words,
    summary,
)
from kidney.evaluation.result import EvaluationResult, Figure, GroupFigures, Localisation
from kidney.reporting.labels import figure_name, number, value_and_interval, with_interval
from kidney.reporting.markdown import card as hub_card
from kidney.reporting.markdown import table

USE = (
    "Research on CT slices of the kidney, 8-bit grey. It supports readers who also see the images; "
    "it is no medical device and makes no diagnosis."
)
_NOT_FOR = (
    "Diagnosis, triage or treatment; images other than CT of the abdomen; patients unlike those of "
    "the evaluation data."
)
_ETHICS = (
    "A missed tumour can cost a life and a false alarm an operation: a prediction must never stand "
    "without a radiologist. Age, sex and origin of the patients are not known, so nobody can tell "
    "whether some of them are served worse."
)
CAVEATS = (
    "Contrast phase, plane and size differ between the classes of the public set, and a model can "
    "score by reading these; compare the groups.",
    "Where the files do not name the patient of a scan, each scan counts as a patient of its own.",
    "The intervals show how figures would change with other patients, not with another training or "
    "another hospital.",
)
_WITHHELD = (
    "Figures of a split with slices of one scan in training and test measure memory, not medicine; "
    "they are never shown alone."
)
_OF_HUB = {"accuracy": "accuracy", "macro_auroc": "roc_auc"}  # figure -> metric type of the hub
_HEADLINE = {  # of `figures`; a set without one of these classes has no such figure
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


def model_card(result: EvaluationResult) -> dict[str, Any]:
    """Return the card as a JSON-ready dict, a key a section; that of a leaky split has no figures.

    Args:
        result: what `evaluate` returned.
    """
    content = result.to_dict()
    analyses = {key: content[key] for key in ("figures", "scan_figures", "ood", "groups")
                if key in content}  # fmt: skip
    elsewhere = "not known to this evaluation; the card inside the artifact names them"
    return {
        "model_details": {
            **content["model"],
            "classes": list(result.classes),
            "type": "backbone, mean over places, one linear layer; a map of evidence that adds up "
            "to each class's logit",
        },
        "intended_use": {"use": USE, "out_of_scope": _NOT_FOR},
        "factors": {title: list(groups) for title, groups in result.groups.items()},
        "metrics": {"meanings": dict(MEANINGS), "intervals": INTERVALS},
        "evaluation_data": {
            "name": result.data.name,
            "split": content["split"],
            **{key: content[key] for key in ("slices", "scans", "patients")},
            "slices_of_class": _by_class(result, result.confusion),
            "scans_of_class": _by_class(result, result.scan_confusion),
        },
        "training_data": elsewhere if result.split.name == EXTERNAL else content["data"],
        "quantitative_analyses": {"withheld": _WITHHELD}
        if result.split.name == LEAKY
        else {"summary": summary(result), **analyses},
        "ethical_considerations": _ETHICS,
        "caveats_and_recommendations": list(CAVEATS),
    }


def _by_class(result: EvaluationResult, counts: Sequence[Sequence[int]]) -> dict[str, int]:
    return {name: sum(row) for name, row in zip(result.classes, counts, strict=True)}


def model_card_markdown(result: EvaluationResult) -> str:
    """Return the card of an evaluation as Markdown."""
    groups = {
        kind: {
            value: (group.scans, group.slices, {k: number(v) for k, v in group.figures.items()})
            for value, group in of.items()
        }
        for kind, of in result.groups.items()
    }
    return _render(result, groups, artifact=None)


def artifact_card(
    card: ModelCard,
    file: str,
    size: int,
    seal: str,
    result: EvaluationResult,
    groups: Mapping[str, Mapping[str, GroupFigures]],
    localised: Sequence[Localisation] = (),
) -> str:
    """Return MODEL_CARD.md.

    Args:
        card: of the artifact.
        file: name of the artifact.
        size: of the artifact, in bytes.
        seal: the digest that it carries.
        result: of its evaluation.
        groups: what `group_figures` made of the predictions of the same evaluation.
        localised: of each set with masks.

    Raises:
        ArtifactError: the evaluation, or a localisation, is of another model.
    """
    _check(card, result, localised)
    shown = {
        kind: {
            value: (one.scans, one.slices, {k: with_interval(v) for k, v in one.figures.items()})
            for value, one in of.items()
        }
        for kind, of in groups.items()
    }
    counts = zip(result.classes, result.confusion, result.scan_confusion, strict=True)
    return _render(
        result,
        shown,
        artifact={"file": file, "sections": card_sections(card, size, seal)},
        localised=localised,
        split=split_words(result),
        classes=[(name, number(sum(slices)), number(sum(scans))) for name, slices, scans in counts],
    )


def _render(result: EvaluationResult, groups: Mapping[str, Any], **more: Any) -> str:
    return hub_card(
        ["model_card.md"],
        HubCard,
        _metadata(result),
        card=model_card(result),
        result=result,
        groups=groups,
        figures=_figures,
        group_table=_group_table,
        facts=_facts,
        **more,
    )


def _metadata(result: EvaluationResult) -> ModelCardData:
    measured = [] if result.split.name == LEAKY else list(_OF_HUB)
    return ModelCardData(
        language="en",
        license="other",
        license_name="research-use-only",
        library_name="onnx",
        pipeline_tag="image-classification",
        tags=["medical", "computed-tomography", "kidney"],
        model_name=result.model.backbone,
        eval_results=[
            EvalResult(
                task_type="image-classification",
                dataset_type=result.data.name,
                dataset_name=result.data.name,
                dataset_split=f"{result.split.name}, {result.split.part}",
                metric_type=_OF_HUB[name],
                metric_name=f"{figure_name(name)} by slice",
                metric_value=round(value, 4),
            )
            for name in measured
            if (value := result.figures[name].value) is not None
        ]
        or None,
    )


def _check(card: ModelCard, result: EvaluationResult, localised: Sequence[Localisation]) -> None:
    run = result.model.run
    measured = asdict(card.metrics)["figures"] if card.metrics else None
    if run != card.run or result.to_dict()["figures"] != measured:
        raise ArtifactError(
            f"Expected the evaluation that run {card.run} was exported with, but the one given is "
            f"of run {run}" + (", and has other figures." if run == card.run else "."),
            "Run python scripts/evaluate.py and python export.py with the same arguments, then "
            "this again.",
        )
    if other := [one.model.run for one in localised if one.model.run != card.run]:
        raise ArtifactError(
            f"Expected localisations by run {card.run}, but got one by run {other[0]}.",
            "Run python scripts/localise.py with this model.",
        )


def _facts(facts: Sequence[tuple[str, object]]) -> Markup:
    return table(["", ""], [(name if name.strip() else "", value) for name, value in facts])


def _figures(figures: Mapping[str, Figure]) -> Markup:
    rows = [(figure_name(name), *value_and_interval(figure)) for name, figure in figures.items()]
    return table(["figure", "value", "95 % interval"], rows)


def _group_table(kind: str, groups: Mapping[str, tuple[int, int, Mapping[str, str]]]) -> Markup:
    names = list(next(iter(groups.values()))[2])
    rows = [
        (value, number(scans), number(slices), *figures.values())
        for value, (scans, slices, figures) in groups.items()
    ]
    return table([kind, "scans", "slices", *map(figure_name, names)], rows)


def headline_table(results: Mapping[str, EvaluationResult]) -> str:
    """Return the few figures that a model is known by, as a Markdown table.

    Args:
        results: name of a row -> what `evaluate` returned; it has a row for slices and one for
            scans. Figures of random slices belong beside grouped ones and nowhere else.
    """
    return str(table(["", "of", *_HEADLINE.values()], list(_headline_rows(results))))


def _headline_rows(results: Mapping[str, EvaluationResult]) -> Iterator[tuple[str, ...]]:
    for name, result in results.items():
        slices, scans = f"{result.slices:,} slices of {result.scans} scans", f"{result.scans} scans"
        for of, figures in ((slices, result.figures), (scans, result.scan_figures)):
            yield (
                name,
                of,
                *(with_interval(figures[key]) if key in figures else "" for key in _HEADLINE),
            )
