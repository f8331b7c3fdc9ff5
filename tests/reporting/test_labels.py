"""Classes, figures and numbers are written alike everywhere."""

import pytest

from kidney.evaluation.result import Figure
from kidney.reporting.labels import (
    class_name,
    figure_name,
    number,
    out_of_100,
    value_and_interval,
    with_interval,
)

HALF = Figure(value=0.5, low=0.25, high=1)


@pytest.mark.parametrize(
    ("name", "label"),
    [("tumor", "tumour (kidney mass)"), ("cyst", "cyst"), ("clear_cell_rcc", "clear cell rcc")],
)
def test_classes_have_names_for_people(name: str, label: str):
    assert class_name(name) == label


@pytest.mark.parametrize(
    ("figure", "label"),
    [
        ("macro_auroc", "Macro AUROC"),
        ("recall_kidney_stone", "Recall of kidney_stone"),
        ("sensitivity_tumor", "Sensitivity for tumor"),
        ("peak_in_lesion", "peak in lesion"),
    ],
)
def test_figures_have_names_for_people(figure: str, label: str):
    assert figure_name(figure) == label


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.12345, "0.123"), (1.0, "1.000"), (1234, "1,234"), ("x", "x"), (None, "n/a")],
)
def test_numbers_are_written_alike_everywhere(value, text: str):
    assert number(value) == text


@pytest.mark.parametrize(
    ("figure", "parts", "whole"),
    [
        (
            Figure(value=0.5, low=0.25, high=1),
            ("0.500", "0.250 to 1.000"),
            "0.500 (0.250 to 1.000)",
        ),
        (Figure(value=0.5), ("0.500", ""), "0.500"),
        (Figure(value=None), ("n/a", ""), "n/a"),
        (None, ("n/a", ""), "n/a"),
    ],
)
def test_a_figure_is_written_with_its_interval(figure, parts: tuple[str, str], whole: str):
    assert value_and_interval(figure) == parts
    assert with_interval(figure) == whole


def test_a_share_is_written_out_of_100():
    assert (
        out_of_100(Figure(value=0.87, low=0.754, high=0.95), "slices")
        == "87 of 100 slices (75 to 95)"
    )
