"""The committed cards have the shape of what the generator writes of a model and its data."""

import json
import re
import sys
from itertools import pairwise

import pytest

from kidney.artifact.integrity import check_seal
from kidney.artifact.predictor import Predictor
from kidney.reporting.labels import figure_name, value_and_interval
from tests.pipeline.conftest import ROOT

# What is written, and its sections whose tables are alike for every model and set.
TABLES = {
    "MODEL_CARD.md": ("Model details", "Evaluation data"),
    "DATA_CARD.md": ("Composition", "Known biases", "Findings of the validation"),
}
CARDS = tuple(TABLES)


@pytest.fixture(scope="module")
def cards(pipeline) -> dict[str, str]:
    """What `dvc repro` wrote."""
    return {name: (pipeline.folder / "artifacts" / name).read_text("utf-8") for name in CARDS}


def headings(page: str) -> list[str]:
    """Those of every model and set: the third level names what was measured of one."""
    return re.findall(r"^## .*$", page, flags=re.M)


def columns(page: str, section: str) -> list[list[str]]:
    """The header of each table of a section."""
    lines = page.split(f"## {section}\n")[1].split("\n## ")[0].splitlines()
    return [
        above.strip("| ").split(" | ")
        for above, below in pairwise(lines)
        if below.startswith("| ---")
    ]


def test_the_figures_are_those_of_the_artifact(pipeline, cards):
    card = Predictor(pipeline.folder / "artifacts/kidney.onnx").card
    for name, figure in card.metrics.figures.items():
        row = f"| {figure_name(name)} | {' | '.join(value_and_interval(figure))} |"
        assert row in cards["MODEL_CARD.md"]
    assert card.run in cards["MODEL_CARD.md"]
    assert card.data.fingerprint in cards["DATA_CARD.md"]


def test_the_counts_are_those_of_the_data(pipeline, cards):
    report = json.loads((pipeline.folder / "data/phantom/validation.json").read_text("utf-8"))
    for label, counts in report["summary"]["classes"].items():
        row = f"| {label} | {counts['slices']} | {counts['scans']} |"
        assert row in cards["DATA_CARD.md"]


@pytest.mark.parametrize("name", CARDS)
def test_nothing_tells_of_this_machine(pipeline, cards, name: str):
    for folder in (pipeline.folder, ROOT, sys.prefix):
        assert str(folder) not in cards[name]
    assert not re.search(r"(^|[\s(`])/(home|root|work|tmp|mnt|Users|data)/", cards[name])


def test_the_same_files_give_the_same_bytes(pipeline, cards):
    again = pipeline.folder / "again"
    pipeline.run(sys.executable, "scripts/cards.py", "--out", again)
    assert {name: (again / name).read_text("utf-8") for name in CARDS} == cards


def test_a_model_that_is_not_there_is_one_clear_error(pipeline):
    done = pipeline.run(sys.executable, "scripts/cards.py", "--artifact", "no.onnx", check=False)
    assert done.returncode == 2
    assert "Expected a model at no.onnx" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_committed_cards_are_of_the_model_in_the_box(cards):
    model, data = ((ROOT / name).read_text("utf-8") for name in CARDS)
    shipped = (ROOT / "models/kidney.onnx").read_bytes()
    assert check_seal(shipped) in model
    assert set(headings(cards["MODEL_CARD.md"])) <= set(headings(model))
    for section in TABLES["MODEL_CARD.md"]:
        assert columns(model, section) == columns(cards["MODEL_CARD.md"], section)
    for source in ("kits", "curvas", "public", "kauh"):
        assert f"| {source} |" in data
    for card in (model, data):
        assert not re.search(r"(^|[\s(`])/(home|root|work|tmp|mnt|Users|data)/", card)
