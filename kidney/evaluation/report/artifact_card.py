"""MODEL_CARD.md: what a kidney.onnx and its evaluation say, for people who may use it.

The sections are those of Mitchell et al., Model Cards for Model Reporting (FAT* 2019), as
`kidney.evaluation.report.model_card` fills them; added is what only the artifact knows: how to feed
it, how it decides, where it comes from and what was measured when it was exported. Every figure is
taken out of one of the two.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from kidney.artifact.__main__ import card_sections
from kidney.artifact.card import ModelCard
from kidney.errors import ArtifactError
from kidney.evaluation.report.model_card import figures_table, model_card, model_card_sections
from kidney.evaluation.report.wording import Result, number, split_words, value_and_interval
from kidney.reporting.labels import figure_name
from kidney.reporting.markdown import document, table, text

_LEAD = (
    "Research use only: no medical device, no diagnosis, and no answer that may stand without a "
    "radiologist. `python scripts/cards.py` writes this file from `{file}` and its evaluation; "
    "change those, not this. The data are described in [DATA_CARD.md](DATA_CARD.md)."
)
_HEAD = (
    "The classes' evidence is read off the feature map by one linear layer; the mean of a class's "
    "map plus its bias is its logit, exactly, so the map is a part of the answer and no "
    "explanation after the fact."
)
_LICENCE = (
    "The code is under Apache-2.0. The weights carry the terms of the data and of the first "
    "weights that they were made from."
)
_USERS = (
    "Researchers who compare methods on CT of the kidney; developers who need an artifact with a "
    "contract; readers who also see the images and the scan they belong to."
)
_UNKNOWN = (
    "Age, sex, origin, scanner, dose and the size of a finding are not known of the slices, so no "
    "figure can be given by them. Contrast phase and view are estimated from the pictures where "
    "the files do not state them."
)
_SETTLED = (
    "Temperature, operating points, prediction sets and the limits for review and for what is no "
    "kidney CT were settled on answers of fits that had not seen the scan, never on the slices "
    "that these figures are of."
)
_TRAINED = (
    "All but the test part of {name} ({source}, fingerprint {fingerprint}): {slices} slices of "
    "{scans} scans in all, the test part included. Left out in turn for validation: fold {folds}; "
    "the fits, if there are several, are averaged into one network."
)
_FEW = (
    "A group of few scans has a wide interval, and a group that holds one class only has no AUROC. "
    "Where the classes of a group are others than those of the whole, its accuracy is no fair "
    "comparison."
)
_ONE_FOLD = (
    "These figures are of one test part of {scans} scans. Other folds of the same recipe give "
    "other figures; a cross-validation pools all of them."
)
_LOCALISED = (
    "On slices whose lesions somebody has drawn: {slices} slices of {patients} patients of {name}. "
    "The map is where the lesion's class beats normal; chance is where a blind peak would hit."
)


def artifact_card(
    card: ModelCard,
    file: str,
    size: int,
    seal: str,
    result: Result,
    groups: Mapping[str, Mapping[str, Any]],
    localised: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Return MODEL_CARD.md.

    Args:
        card: of the artifact.
        file: what the artifact is called.
        size: of the artifact, in bytes.
        seal: the digest that it carries.
        result: the metrics.json of its evaluation.
        groups: what `group_figures` made of the predictions of the same evaluation.
        localised: the localisation.json of each set with masks.

    Raises:
        ArtifactError: the evaluation, or a localisation, is of another model.
    """
    _check(card, result, localised)
    told = card_sections(card, size, seal)
    sections = model_card_sections(model_card({**result, "groups": {}}))
    found = {
        "Model details": [
            *_facts(told["What it is"]),
            *("", text(_HEAD), "", text(_LICENCE), ""),
            "### Where it comes from",
            "",
            *_facts(told["Where it comes from"]),
            "",
            "### How to feed it",
            "",
            *_facts(told["How to feed it"]),
            "",
            "### How it decides",
            "",
            *_facts(told["How it decides"]),
        ],
        "Intended use": [*sections["Intended use"], f"- users: {text(_USERS)}"],
        "Factors": [
            *(f"- {text(kind)}: {', '.join(map(text, of))}" for kind, of in groups.items()),
            *("", text(_UNKNOWN)),
        ],
        "Metrics": [*sections["Metrics"], "", text(_SETTLED)],
        "Evaluation data": [f"{text(_capital(split_words(result)))}.", "", *_classes(result)],
        "Training data": [text(_trained(result))],
        "Quantitative analyses": [
            *sections["Quantitative analyses"],
            *_by_group(groups),
            *(line for one in localised for line in _localisation(one)),
            *("", "### Measured at export", ""),
            *_facts(told["Measured at export"]),
        ],
        "Ethical considerations": sections["Ethical considerations"],
        "Caveats and recommendations": [
            *sections["Caveats and recommendations"],
            *(f"- {text(caveat)}" for caveat in _more_caveats(result)),
        ],
    }
    return document(f"Model card: {card.backbone}", _LEAD.format(file=file), found)


def _check(card: ModelCard, result: Result, localised: Sequence[Mapping[str, Any]]) -> None:
    run, figures = result["model"]["run"], result["figures"]
    if run != card.run or card.metrics is None or figures != asdict(card.metrics)["figures"]:
        raise ArtifactError(
            f"Expected the evaluation that run {card.run} was exported with, but the one given is "
            f"of run {run}" + (", and has other figures." if run == card.run else "."),
            "Run python scripts/evaluate.py and python export.py with the same arguments, then "
            "this again.",
        )
    if other := [one["model"]["run"] for one in localised if one["model"]["run"] != card.run]:
        raise ArtifactError(
            f"Expected localisations by run {card.run}, but got one by run {other[0]}.",
            "Run python scripts/localise.py with this model.",
        )


def _facts(said: Sequence[tuple[str, object]]) -> list[str]:
    rows = [(what if what.strip() else "", value) for what, value in said]
    return table(["", ""], rows)


def _classes(result: Result) -> list[str]:
    counts = zip(result["classes"], result["confusion"], result["scan_confusion"], strict=True)
    rows = [(name, number(sum(slices)), number(sum(scans))) for name, slices, scans in counts]
    return table(["class", "slices", "scans"], rows)


def _trained(result: Result) -> str:
    data, folds = result["data"], result["split"]["validation_folds"]
    counts = {key: f"{data[key]:,}" for key in ("slices", "scans")}
    return _TRAINED.format(**{**data, **counts, "folds": ", ".join(map(str, folds))})


def _by_group(groups: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for kind, of in groups.items():
        names = list(next(iter(of.values()))["figures"])
        rows = [
            (value, number(group["scans"]), number(group["slices"]),
             *(_in_a_cell(group["figures"][name]) for name in names))
            for value, group in of.items()
        ]  # fmt: skip
        yield from ("", f"### By {text(kind)}", "")
        yield from table([kind, "scans", "slices", *map(figure_name, names)], rows)
    yield from ("", text(_FEW))


def _in_a_cell(figure: Mapping[str, float | None]) -> str:
    if figure["low"] is None:
        return number(figure["value"])
    return "{} ({})".format(*value_and_interval(figure))


def _localisation(one: Mapping[str, Any]) -> Iterator[str]:
    name = one["data"]["name"]
    yield from ("", f"### Localisation of the evidence: {text(name)}", "")
    yield text(_LOCALISED.format(name=name, slices=one["slices"], patients=one["patients"]))
    yield ""
    yield from figures_table(one["localisation"])


def _more_caveats(result: Result) -> Iterator[str]:
    if result["split"]["fold"] != "all":
        yield _ONE_FOLD.format(scans=f"{result['scans']:,}")


def _capital(said: str) -> str:
    return said[:1].upper() + said[1:]
