"""Every evaluation leaves the same files, and they say the same."""

import json
from pathlib import Path

import pytest

from kidney.evaluation.report.model_card import model_card, model_card_markdown
from kidney.evaluation.report.page import report_page
from kidney.pipeline.result_files import FILES, read_predictions, write_result
from tests.helpers.evaluation_results import result_of, said_of

SAID = said_of()
RESULT = result_of(SAID)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_result(tmp_path / "new", RESULT, SAID, random=result_of(SAID, "leaky"))
    return tmp_path / "new"


def test_the_files_are_the_promised_ones(folder: Path):
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)


def test_figures_and_card_are_those_of_the_result(folder: Path):
    assert json.loads((folder / "metrics.json").read_text()) == RESULT
    card = json.loads((folder / "model-card.json").read_text())
    assert card == model_card(RESULT)
    assert (folder / "model-card.md").read_text() == model_card_markdown(card)
    page = (folder / "report.html").read_text()
    assert page == report_page(RESULT, SAID, [], random=result_of(SAID, "leaky"))
    assert list(read_predictions(folder / "predictions.csv")["scan"]) == list(SAID["scan"])


def test_nothing_is_written_of_a_result_that_is_no_json(tmp_path: Path):
    nan = float("nan")
    figures = {**RESULT["figures"], "ece": {"value": nan, "low": nan, "high": nan}}
    with pytest.raises(ValueError, match="JSON"):
        write_result(tmp_path, {**RESULT, "figures": figures}, SAID)
    assert list(tmp_path.iterdir()) == []
