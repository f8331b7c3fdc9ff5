"""Cards show the figures of the page, in the sections of Mitchell et al. 2019, with metadata."""

import dataclasses
import json
import re
from typing import Any

import pytest
from huggingface_hub import ModelCard

from kidney.errors import ArtifactError
from kidney.evaluation.metrics.classification import group_figures
from kidney.evaluation.report.cards import (
    artifact_card,
    headline_table,
    model_card,
    model_card_markdown,
)
from kidney.evaluation.report.page import report_page
from kidney.evaluation.report.wording import summary
from kidney.evaluation.result import Figure, GroupFigures, Localisation, ModelRecord
from kidney.reporting.labels import figure_name, value_and_interval, with_interval
from kidney.reporting.markdown import text as text_of
from tests.helpers.evaluation_results import CLASSES, predictions_of, result_of
from tests.helpers.html_pages import read
from tests.helpers.tiny_model import CARD

PREDICTIONS = predictions_of()
OOD = {"auroc_noise": {"value": 0.9, "low": 0.8, "high": 0.95}}
RESULT = result_of(PREDICTIONS, ood=OOD)
JSON = model_card(RESULT)
MARKDOWN = model_card_markdown(RESULT)
SECTIONS = [
    "Model details", "Intended use", "Factors", "Metrics", "Evaluation data", "Training data",
    "Quantitative analyses", "Ethical considerations", "Caveats and recommendations",
]  # fmt: skip

OF_ARTIFACT = RESULT.model_copy(
    update={"model": ModelRecord(backbone="tiny", run=CARD.run, code="0a1b2c")}
)
FULL = dataclasses.replace(CARD, metrics=OF_ARTIFACT.of_card())
GROUPS = {
    kind: {value: GroupFigures.model_validate(one) for value, one in of.items()}
    for kind, of in group_figures(PREDICTIONS, CLASSES, repeats=50).items()
}
LOCALISED = Localisation.model_validate(
    {
        "model": {"backbone": "tiny", "run": CARD.run},
        "data": {"name": "drawn.zip"},
        "slices": 24,
        "patients": 5,
        "maps": {},
        "localisation": {"peak_inside": {"value": 0.625, "low": 0.25, "high": 0.75}},
    }
)
OTHER = ModelRecord(backbone="tiny", run="other")


def of_artifact(**changes: Any) -> str:
    parts = {"card": FULL, "result": OF_ARTIFACT, "localised": [LOCALISED]} | changes
    return artifact_card(
        parts["card"], "kidney.onnx", 1_580_000, "a" * 64, parts["result"], GROUPS,
        parts["localised"],
    )  # fmt: skip


def tables(markdown: str) -> dict[str, list[list[str]]]:
    """The tables of a document by the heading above."""
    found: dict[str, list[list[str]]] = {}
    heading = ""
    for line in markdown.splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif line.startswith("|"):
            row = [part.strip().replace("\\", "") for part in line.strip("|").split(" | ")]
            found.setdefault(heading, []).append(row)
    return {heading: rows[2:] for heading, rows in found.items()}


@pytest.mark.parametrize("markdown", [MARKDOWN, of_artifact()])
def test_a_card_has_the_sections_of_a_model_card(markdown: str):
    assert re.findall(r"^## (.*)$", markdown, flags=re.M) == SECTIONS
    assert [title.lower().replace(" ", "_") for title in SECTIONS] == list(JSON)
    assert "\n\n\n" not in markdown


@pytest.mark.parametrize("markdown", [MARKDOWN, of_artifact()])
def test_the_hub_reads_figures_and_data_out_of_it(markdown: str):
    data = ModelCard(markdown).data
    assert (data.library_name, data.pipeline_tag) == ("onnx", "image-classification")
    shown = {one.metric_type: one.metric_value for one in data.eval_results}
    assert shown == {
        "accuracy": round(RESULT.figures["accuracy"].value, 4),
        "roc_auc": round(RESULT.figures["macro_auroc"].value, 4),
    }
    assert {one.dataset_name for one in data.eval_results} == {"phantom"}


def test_figures_are_those_of_the_result_and_counts_those_of_its_tables():
    analyses, content = JSON["quantitative_analyses"], RESULT.to_dict()
    for key in ("figures", "scan_figures", "groups", "ood"):
        assert analyses[key] == content[key]
    assert analyses["summary"] == summary(RESULT)
    assert JSON["evaluation_data"]["scans_of_class"] == {
        name: int(PREDICTIONS.loc[PREDICTIONS["label"] == name, "scan"].nunique())
        for name in CLASSES
    }
    assert JSON["evaluation_data"]["split"] == content["split"]
    assert JSON["training_data"]["fingerprint"] == "f1"


def test_card_and_page_agree_on_every_figure():
    page, ours = read(report_page(RESULT, PREDICTIONS, [])).tables, tables(MARKDOWN)
    by_slice, by_scan, _ = page["Every figure, and what it means"]
    for title, shown in (("By slice", by_slice), ("By whole scan", by_scan)):
        assert [[name, " ".join(rest)] for name, *rest in ours[title]] == shown[1:]
    groups = page["By phase, plane and size"]
    assert [ours[f"By {title}"] for title in RESULT.groups] == [rows[1:] for rows in groups]
    assert ours["Out of distribution"] == [["AUROC of noise", "0.900", "0.800 to 0.950"]]


def test_the_card_is_json_also_where_figures_are_not_defined():
    alone = result_of(PREDICTIONS[PREDICTIONS["label"] == "tumor"].reset_index(drop=True))
    assert json.loads(json.dumps(model_card(alone), allow_nan=False)) == model_card(alone)
    markdown = model_card_markdown(alone)
    assert ["AUROC of tumor", "n/a", ""] in tables(markdown)["By slice"]
    assert not re.search(r"\bnan\b|None", markdown)


def test_a_leaky_result_has_a_card_without_figures():
    leaky = result_of(PREDICTIONS, "leaky")
    assert list(model_card(leaky)["quantitative_analyses"]) == ["withheld"]
    markdown = model_card_markdown(leaky)
    assert "memory, not medicine" in markdown
    assert not re.search(r"0\.\d\d|of 100|model-index", markdown)


def test_an_outside_set_is_not_taken_for_the_training_data():
    assert "not known" in model_card(result_of(PREDICTIONS, "external"))["training_data"]


def test_names_cannot_open_tags_links_cells_or_lines():
    harmful = "<b>[x](http://y)|`*\n# big"
    result = result_of(
        PREDICTIONS.assign(phase=harmful), model={"backbone": harmful, "run": harmful}
    )
    markdown = ModelCard(model_card_markdown(result)).text
    assert "<b>" not in markdown
    assert "[x](" not in markdown.replace("\\[", "").replace("\\]", "")
    assert "# big" not in re.findall(r"^#.*", markdown, flags=re.M)
    (row,) = re.findall(r"^\| &lt;b>.*$", markdown, flags=re.M)
    assert len(re.findall(r"(?<!\\)\|", row)) == 10


def test_every_figure_of_the_artifact_is_in_it_with_its_interval():
    markdown = of_artifact()
    for name, figure in OF_ARTIFACT.figures.items():
        row = " | ".join([text_of(figure_name(name)), *value_and_interval(figure)])
        assert f"| {row} |" in markdown
    group = GROUPS["phase"]["enhanced"]
    accuracy = with_interval(group.figures["accuracy"])
    assert f"| enhanced | {group.scans} | {group.slices} | {accuracy} |" in markdown
    assert "24 slices of 5 patients of drawn.zip" in markdown
    assert "| peak inside | 0.625 | 0.250 to 0.750 |" in markdown


def test_what_only_the_artifact_knows_is_in_it():
    markdown = of_artifact()
    for part in ("a" * 64, "1.6 MB", "| suspects tumor | from a probability of 0.1 |", "uint8",
                 "phantom (here, fingerprint f1): 120 slices of 40 scans in all",
                 "Left out in turn for validation: fold 3, 4;"):  # fmt: skip
        assert part in markdown
    assert of_artifact() == markdown


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"result": OF_ARTIFACT.model_copy(update={"model": OTHER})}, "is of run other"),
        ({"result": OF_ARTIFACT.model_copy(update={"figures": {}})}, "has other figures"),
        ({"localised": [LOCALISED.model_copy(update={"model": OTHER})]}, "got one by run other"),
    ],
)
def test_figures_of_another_model_are_refused(changed: dict[str, Any], words: str):
    with pytest.raises(ArtifactError, match=words):
        of_artifact(**changed)


def test_the_headline_has_a_row_for_slices_and_one_for_scans():
    figures = {"accuracy": Figure(value=0.8, low=0.7, high=0.9), "ece": Figure(value=None)}
    by_scan = {"accuracy": Figure(value=0.85, low=0.75, high=0.95)}
    result = RESULT.model_copy(update={"figures": figures, "scan_figures": by_scan})
    header, _, *rows = headline_table({"by scan": result}).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in (header, *rows)]
    assert [row[:3] for row in cells[1:]] == [
        ["by scan", "120 slices of 40 scans", "0.800 (0.700 to 0.900)"],
        ["by scan", "40 scans", "0.850 (0.750 to 0.950)"],
    ]
    assert cells[1][cells[0].index("calibration error")] == "n/a"
    assert cells[2][cells[0].index("calibration error")] == ""
