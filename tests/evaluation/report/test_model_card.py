"""The card says what the page says, in the sections of Mitchell et al. 2019."""

import json
import re

from kidney.evaluation.report.model_card import model_card, model_card_markdown
from kidney.evaluation.report.page import report_page
from kidney.evaluation.report.wording import summary
from tests.helpers.evaluation_results import CLASSES, result_of, said_of
from tests.helpers.html_pages import read

SAID = said_of()
RESULT = result_of(SAID, localisation={"peak_in_lesion": 0.625, "slices": 24})
CARD = model_card(RESULT)
MARKDOWN = model_card_markdown(CARD)


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


def test_the_card_has_the_sections_of_a_model_card():
    sections = [
        "model_details", "intended_use", "factors", "metrics", "evaluation_data", "training_data",
        "quantitative_analyses", "ethical_considerations", "caveats_and_recommendations",
    ]  # fmt: skip
    assert list(CARD) == sections
    titles = re.findall(r"^## (.*)$", MARKDOWN, flags=re.M)
    assert [title.lower().replace(" ", "_") for title in titles] == sections


def test_figures_are_those_of_the_result_and_counts_those_of_its_tables():
    analyses = CARD["quantitative_analyses"]
    for key in ("figures", "scan_figures", "groups", "localisation"):
        assert analyses[key] == RESULT[key]
    assert analyses["summary"] == summary(RESULT)
    assert CARD["evaluation_data"]["scans_of_class"] == {
        name: int(SAID.loc[SAID["label"] == name, "scan"].nunique()) for name in CLASSES
    }
    assert CARD["evaluation_data"]["split"] == RESULT["split"]
    assert CARD["training_data"]["fingerprint"] == "f1"


def test_card_and_page_agree_on_every_figure():
    by_slice, by_scan, _ = read(report_page(RESULT, SAID, [])).tables[
        "Every figure, and what it means"
    ]
    ours = tables(MARKDOWN)
    assert [
        [name, f"{value} {interval}"] for name, value, interval in ours["By slice"]
    ] == by_slice[1:]
    assert [
        [name, f"{value} {interval}"] for name, value, interval in ours["By whole scan"]
    ] == by_scan[1:]
    groups = read(report_page(RESULT, SAID, [])).tables["By phase, view and size"]
    assert [ours[f"By {title}"] for title in RESULT["groups"]] == [rows[1:] for rows in groups]
    assert ours["Localisation of the evidence"] == [
        ["peak in lesion", "0.625", ""], ["slices", "24", ""]
    ]  # fmt: skip


def test_the_card_is_json_also_where_figures_are_not_defined():
    alone = SAID[SAID["label"] == "tumor"].reset_index(drop=True)
    card = model_card(result_of(alone))
    assert json.loads(json.dumps(card, allow_nan=False)) == card
    markdown = model_card_markdown(card)
    assert ["AUROC of tumor", "n/a", ""] in tables(markdown)["By slice"]
    assert not re.search(r"\bnan\b|None", markdown)


def test_a_leaky_result_has_a_card_without_figures():
    card = model_card(result_of(SAID, "leaky", localisation={"peak": 0.5}))
    assert list(card["quantitative_analyses"]) == ["withheld"]
    markdown = model_card_markdown(card)
    assert "memory, not medicine" in markdown
    assert not re.search(r"0\.\d\d|of 100", markdown)


def test_an_outside_set_is_not_taken_for_the_training_data():
    assert "not known" in model_card(result_of(SAID, "external"))["training_data"]


def test_names_cannot_open_tags_links_cells_or_lines():
    harmful = "<b>[x](http://y)|`*\n# big"
    said = SAID.assign(phase=harmful)
    model = {"backbone": harmful, "run": harmful}
    markdown = model_card_markdown(model_card(result_of(said, model=model)))
    assert "<b>" not in markdown
    assert "[x](" not in markdown.replace("\\[", "").replace("\\]", "")
    assert "# big" not in re.findall(r"^#.*", markdown, flags=re.M)
    (row,) = re.findall(r"^\| &lt;b>.*$", markdown, flags=re.M)
    assert len(re.findall(r"(?<!\\)\|", row)) == len(
        re.findall(r"\|", "| p | s | s | a | m | n | c | t | k |")
    )
