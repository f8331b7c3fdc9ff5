"""Sentences and numbers say what the figures say."""

from typing import Any

from kidney.evaluation.report.wording import split_words, summary
from kidney.evaluation.result import EvaluationResult
from kidney.reporting.labels import figure_name
from tests.helpers.evaluation_results import predictions_of, result_of

PREDICTIONS = predictions_of()
RESULT = result_of(PREDICTIONS)


def with_split(**changes: Any) -> EvaluationResult:
    return RESULT.model_copy(update={"split": RESULT.split.model_copy(update=changes)})


def hundred(result: EvaluationResult, name: str, table: str = "figures") -> str:
    figure = getattr(result, table)[name]
    ends = (round(100 * end) for end in (figure.value, figure.low, figure.high))
    return "{} of 100 | ({} to {})".format(*ends)


def tells(text: str, share: str) -> bool:
    value, interval = share.split(" | ")
    start = text.find(value)
    return start >= 0 and interval in text[start : start + len(value) + 60]


def test_every_figure_of_a_result_has_a_name_and_words_of_its_own():
    names = [figure_name(figure) for figure in RESULT.figures]
    assert len(set(names)) == len(names)
    assert not any(name == figure for name, figure in zip(names, RESULT.figures, strict=True))


def test_the_summary_tells_the_weakest_side_as_well_as_the_whole():
    text = summary(RESULT)
    assert tells(text, hundred(RESULT, "accuracy"))
    assert tells(text, hundred(RESULT, "accuracy", "scan_figures"))
    weakest = min(RESULT.classes, key=lambda name: RESULT.figures[f"recall_{name}"].value)
    assert f"weakest on {weakest}" in text
    missed = min(RESULT.classes[1:], key=lambda name: RESULT.figures[f"sensitivity_{name}"].value)
    assert f"misses most often {missed}" in text
    assert tells(text, hundred(RESULT, f"sensitivity_{missed}"))
    assert tells(text, hundred(RESULT, "answered_accuracy"))
    assert "No scan of the test part was seen in training" in text
    assert "there are 20 of them" in text


def test_the_summary_says_whose_slices_they_are():
    pooled = with_split(fold="all")
    assert "training had seen nothing of that patient" in summary(pooled)
    elsewhere = summary(result_of(PREDICTIONS, "external"))
    assert "whether training saw them is not known" in elsewhere
    assert "No scan of the test part" not in elsewhere


def test_the_summary_leaves_out_what_is_not_defined():
    healthy = predictions_of(scans=4)
    healthy = healthy.assign(label="normal", decision="needs_review", suspected="")
    text = summary(result_of(healthy))
    assert "leaves every slice to a radiologist" in text
    assert "alarm" not in text
    assert "n/a" not in text
    assert "None" not in text


def test_a_split_is_told_with_fold_part_and_counts():
    assert split_words(RESULT) == (
        "split by_patient, fold 2 of 5, part test: 120 slices of 40 scans of 20 patients"
    )
    whole = with_split(name="external", fold="all", folds=1, part="there")
    assert split_words(whole).startswith("split external, undivided, part there")
