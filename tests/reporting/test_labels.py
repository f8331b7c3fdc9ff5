import pytest

from kidney.reporting.labels import class_name, figure_name


@pytest.mark.parametrize(
    ("name", "said"),
    [("tumor", "tumour (kidney mass)"), ("cyst", "cyst"), ("clear_cell_rcc", "clear cell rcc")],
)
def test_classes_have_names_for_people(name: str, said: str):
    assert class_name(name) == said


@pytest.mark.parametrize(
    ("figure", "said"),
    [
        ("macro_auroc", "Macro AUROC"),
        ("recall_kidney_stone", "Recall of kidney_stone"),
        ("sensitivity_tumor", "Sensitivity for tumor"),
        ("peak_in_lesion", "peak in lesion"),
    ],
)
def test_figures_have_names_for_people(figure: str, said: str):
    assert figure_name(figure) == said
