"""The page says what the result says, all of it, and nothing of a leaky split alone."""

import re
from typing import Any

import numpy as np

from kidney.artifact.decision import Rules
from kidney.evaluation.report.examples import Example
from kidney.evaluation.report.page import report_page
from kidney.evaluation.result import DataRecord, EvaluationResult, Figure
from kidney.reporting.labels import figure_name
from tests.helpers.evaluation_results import CLASSES, predictions_of, result_of
from tests.helpers.html_pages import read

PREDICTIONS = predictions_of()
RESULT = result_of(PREDICTIONS)
ELSEWHERE = predictions_of(scans=9, slices=2)
EXTERNAL = result_of(ELSEWHERE, "external", data={"name": "kits19-slices"})
RANDOM = result_of(predictions_of(scans=31), "leaky")
EXAMPLE = Example(7, np.full((40, 60), 90, np.uint8), np.full((40, 60, 3), 200, np.uint8))
SECTIONS = [
    "Summary",
    "Each class against the rest",
    "Calibration",
    "Operating points, prediction sets and review",
    "Confusion by slice and by scan",
    "Worst scans",
    "By phase, plane and size",
    "Every figure, and what it means",
    "Where this comes from",
]
BESIDE = "Random beside grouped: unseen patients and random slices"


def page(result: EvaluationResult = RESULT, **more: Any) -> str:
    return report_page(result, PREDICTIONS, [EXAMPLE], **more)


def cell(figure: Figure) -> str:
    if figure.value is None:
        return "n/a"
    if figure.low is None:
        return f"{figure.value:.3f}"
    return f"{figure.value:.3f} {figure.low:.3f} to {figure.high:.3f}"


def charts(html: str) -> list[str]:
    """What the charts show in words, and the texts in them."""
    return re.findall(r'<svg class="chart" role="img" aria-label="([^"]*)"', html)


def headings(html: str) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", html)


def test_every_promised_section_is_there_summary_first():
    assert headings(page()) == SECTIONS


def test_what_was_not_measured_has_no_section_and_what_was_has_one():
    measured = RESULT.model_copy(update={"ood": {"auroc_noise": RESULT.figures["ece"]}})
    html = page(measured, random=RANDOM, external=EXTERNAL)
    added = [BESIDE, "On an outside set", "Out of distribution"]
    assert [name for name in headings(html) if name not in SECTIONS] == added
    ece = cell(RESULT.figures["ece"])
    assert read(html).tables["Out of distribution"][0][1:] == [["AUROC of noise", ece]]


def test_every_figure_of_the_result_is_on_the_page_with_its_interval():
    by_slice, by_scan, _ = read(page()).tables["Every figure, and what it means"]
    for shown, figures in ((by_slice, RESULT.figures), (by_scan, RESULT.scan_figures)):
        assert shown[1:] == [[figure_name(key), cell(f)] for key, f in figures.items()]


def test_the_headline_has_figures_intervals_and_the_number_of_scans():
    document = read(page())
    whole, of_class, points = document.tables["Summary"]
    figures, by_scan = RESULT.figures, RESULT.scan_figures
    assert whole[0] == ["", "120 slices", "40 whole scans"]
    rows = {row[0]: row[1:] for row in whole}
    assert rows["Macro AUROC"] == [cell(figures["macro_auroc"]), cell(by_scan["macro_auroc"])]
    assert rows["Expected calibration error"] == [cell(figures["ece"]), ""]
    scans = np.sum(RESULT.scan_confusion, axis=1)
    assert of_class[1:] == [
        [f"{name} {n} scans", cell(figures[f"auroc_{name}"]), cell(figures[f"recall_{name}"])]
        for name, n in zip(CLASSES, scans, strict=True)
    ]
    assert points[1:] == [
        [name, cell(figures[f"sensitivity_{name}"]), cell(figures[f"specificity_{name}"])]
        for name in CLASSES[1:]
    ]
    assert "over whole patients (20)" in document.text["Summary"]


def test_thresholds_are_shown_where_the_result_has_one_of_each():
    rules = Rules(0.5, {"cyst": 0.125, "tumor": 0.0625, "kidney_stone": 0.5}, 0.1, None)
    tables = read(page(RESULT.model_copy(update={"rules": rules}))).tables
    for points in (tables["Summary"][2], tables[SECTIONS[3]][0]):
        assert [row[0] for row in points[1:]] == [
            "cyst from 0.125", "tumor from 0.062", "kidney_stone from 0.500"
        ]  # fmt: skip


def test_a_calibration_error_stands_beside_what_chance_alone_would_show():
    text = read(page()).text["Calibration"]
    for figure in (RESULT.figures["ece"], RESULT.ece_by_chance):
        assert "{} ({})".format(*cell(figure).split(" ", 1)) in text


def test_split_part_run_and_counts_are_shown_before_anything_else():
    text = read(page()).text[""]
    assert "Run run-17, split by_patient, fold 2 of 5, part test" in text
    assert "120 slices of 40 scans of 20 patients" in text
    pooled = RESULT.model_copy(update={"split": RESULT.split.model_copy(update={"fold": "all"})})
    assert "all 5 folds pooled" in read(page(pooled)).text[""]


def test_charts_are_described_with_their_figures():
    roc, precision, reliability, risk = charts(page())
    for name in CLASSES:
        assert f"{name} AUROC {RESULT.figures[f'auroc_{name}'].value:.3f}" in roc
        assert name in precision
    for one in RESULT.reliability:
        assert f"predicted {one.confidence:.2f}, right {one.accuracy:.2f}" in reliability
    assert risk.startswith("Risk-coverage curve")
    beside, *_ = charts(page(random=RANDOM))
    assert f"{RANDOM.figures['accuracy'].value:.3f}" in beside
    assert "random slices" in beside


def test_confusion_by_slice_and_by_scan_is_shown_as_counted():
    tables = read(page()).tables["Confusion by slice and by scan"]
    for shown, table in zip(tables, (RESULT.confusion, RESULT.scan_confusion), strict=True):
        assert shown[0][1:] == list(CLASSES)
        for row, name, counts in zip(shown[1:], CLASSES, table, strict=True):
            assert row[0] == name
            assert row[1:] == [f"{n}{n / sum(counts):.0%}" for n in counts]


def test_groups_are_shown_with_their_scans_and_an_undefined_figure_as_such():
    phase, plane, size = read(page()).tables["By phase, plane and size"]
    for shown, key in ((phase, "phase"), (plane, "plane"), (size, "size")):
        for row, (value, group) in zip(shown[1:], RESULT.groups[key].items(), strict=True):
            assert row[:3] == [value, str(group.scans), str(group.slices)]
            assert row[3:] == [f"{f:.3f}" for f in group.figures.values()]
    alone = PREDICTIONS[PREDICTIONS["label"] == "cyst"]
    (row,) = read(page(result_of(alone))).tables["By phase, plane and size"][1][1:]
    assert row[3:] == ["{:.3f}".format((alone["cyst"] == alone[list(CLASSES)].max(axis=1)).mean()),
                       "n/a", "n/a", row[3], "n/a", "n/a"]  # fmt: skip


def test_the_worst_scans_are_listed_worst_first_and_shown():
    html = page()
    (shown,) = read(html).tables["Worst scans"]
    worst = RESULT.scans_ranked[:12]
    assert [row[:3] for row in shown[1:]] == [[s.scan, s.label, s.predicted] for s in worst]
    assert [row[3] for row in shown[1:]] == [f"{s.probability:.3f}" for s in worst]
    row = PREDICTIONS.iloc[EXAMPLE.row]
    assert f"Scan {row['scan']}, 2-1.png: is {row['label']}" in html
    assert html.count("data:image/png;base64,") == 1
    assert "No pictures were kept" in report_page(RESULT, PREDICTIONS, [])


def test_random_figures_stand_beside_grouped_ones_and_nowhere_else():
    document = read(page(random=RANDOM))
    (shown,) = document.tables[BESIDE]
    assert shown[0][1:] == ["unseen patients: 40 scans", "random slices, leaking: 31 scans"]
    assert shown[1:] == [
        [figure_name(key), cell(figure), cell(RANDOM.figures[key])]
        for key, figure in RESULT.figures.items()
    ]
    grouped, random = (
        f"{100 * result.figures['accuracy'].value:.0f} of 100 slices" for result in (RESULT, RANDOM)
    )
    summary = document.text["Summary"]
    assert 0 < summary.index(grouped) < summary.index(random)
    assert "memory, not medicine" in summary
    elsewhere = {
        section: text
        for section, text in document.text.items()
        if section not in ("Summary", BESIDE)
    }
    assert elsewhere == {s: t for s, t in read(page()).text.items() if s not in ("Summary", BESIDE)}


def test_a_leaky_result_shows_no_figure_of_its_own():
    html = page(RANDOM, random=RESULT, external=EXTERNAL)
    assert headings(html) == ["No figures here"]
    assert "measure memory, not medicine" in read(html).text["No figures here"]
    assert not re.search(r"0\.\d|%|of 100|<table|<svg|<img", html.split("</style>")[1])


def test_an_outside_set_stands_beside_the_own_one_with_its_scans():
    document = read(page(external=EXTERNAL))
    figures, counts = document.tables["On an outside set"]
    assert figures[0][1:] == ["phantom: 40 scans", "kits19-slices: 9 scans"]
    assert figures[1:] == [
        [figure_name(key), cell(figure), cell(EXTERNAL.figures[key])]
        for key, figure in RESULT.figures.items()
    ]
    assert [[text[0] for text in row[1:]] for row in counts[1:]] == [
        [str(n)[0] for n in row] for row in EXTERNAL.confusion
    ]


def test_undefined_figures_are_no_numbers_anywhere():
    tumours = PREDICTIONS[PREDICTIONS["label"] == "tumor"].reset_index(drop=True)
    document = read(report_page(result_of(tumours, "external"), tumours, []))
    assert not re.search(r"\b(nan|none)\b", " ".join(document.text.values()).lower())
    by_slice = {row[0]: row[1] for row in document.tables[SECTIONS[-2]][0]}
    assert by_slice["AUROC of tumor"] == by_slice["Recall of cyst"] == "n/a"
    assert by_slice["Sensitivity for tumor"] != "n/a"
    rows = document.tables["Confusion by slice and by scan"][0][1:]
    assert [row[1:] for row in rows if row[0] != "tumor"] == [["0n/a"] * 4] * 3


def test_names_from_outside_cannot_write_into_the_page():
    harmful = "<script>alert(1)</script>\"'&$"
    predictions = PREDICTIONS.assign(
        scan=PREDICTIONS["scan"] + harmful, path=harmful, phase=harmful
    )
    model = {"backbone": harmful, "run": harmful}
    result = result_of(predictions, data={"name": harmful}, model=model)
    external = EXTERNAL.model_copy(update={"data": DataRecord(name=harmful)})
    html = report_page(result, predictions, [EXAMPLE], random=RANDOM, external=external)
    assert "<script" not in html
    assert html.count("&lt;script") > 10


def test_the_page_needs_nothing_from_elsewhere():
    html = page(random=RANDOM, external=EXTERNAL)
    assert re.search(r'src="data:image/png;base64,', html)
    without_pictures = re.sub(r'src="data:image/png;base64,[^"]*"', "", html)
    outside = r'https?:|url\((?!#)|@import|<script|<link|\bsrc=|\bhref=(?!"#)'
    assert not re.search(outside, without_pictures)


def test_the_same_result_gives_the_same_bytes():
    assert page(random=RANDOM) == page(random=RANDOM)
