import json
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sklearn

from kidney.evaluation.evaluate import evaluate
from kidney.evaluation.metrics.bootstrap import patient_intervals
from kidney.evaluation.result import EvaluationResult, Figure
from tests.helpers.predictions_table import said_of, simulated_said

CLASSES = ("normal", "cyst", "tumor")


def evaluated(said: pd.DataFrame) -> EvaluationResult:
    model, data = {"backbone": "tiny", "run": "r"}, {"name": "simulated"}
    split = {"name": "by_patient", "fold": 0, "folds": 5, "part": "test"}
    return evaluate(said, CLASSES, model=model, data=data, split=split)


@pytest.fixture(scope="module", autouse=True)
def fewer_resamples():
    with pytest.MonkeyPatch.context() as patch:
        few = partial(patient_intervals, repeats=200)
        patch.setattr("kidney.evaluation.evaluate.patient_intervals", few)
        yield


@pytest.fixture(scope="module")
def said() -> pd.DataFrame:
    return simulated_said(0, 30)


@pytest.fixture(scope="module")
def result(said: pd.DataFrame) -> EvaluationResult:
    return evaluated(said)


def value(result: EvaluationResult, name: str) -> float:
    return result.figures[name].value


def test_all_that_a_report_needs_is_there_and_comes_back_from_json(
    result: EvaluationResult, tmp_path: Path
):
    (tmp_path / "metrics.json").write_text(result.to_json())
    assert EvaluationResult.read_file(tmp_path / "metrics.json") == result
    assert json.loads(result.to_json()) == json.loads(json.dumps(result.to_dict()))
    assert "says" in result.to_dict()["scans_ranked"][0]
    every = {"accuracy", "balanced_accuracy", "macro_auroc"}
    every |= {f"{kind}_{name}" for kind in ("recall", "auroc") for name in CLASSES}
    assert set(result.scan_figures) == every
    assert set(result.figures) == every | {
        "loss", "ece", "brier", "set_coverage", "set_size", "answered", "answered_accuracy", "aurc",
        *(f"set_coverage_{name}" for name in CLASSES),
        *(
            f"{kind}_{name}"
            for name in ("cyst", "tumor")
            for kind in (
                "sensitivity", "specificity", "missed_alone", "calibration_slope",
                "calibration_intercept",
            )
        ),
    }  # fmt: skip
    assert (result.classes, result.scans, result.patients) == (CLASSES, 30, 30)


def test_every_figure_lies_in_its_interval_but_the_calibration_error(
    result: EvaluationResult,
):
    for figures in (result.figures, result.scan_figures):
        for name, figure in figures.items():
            assert figure.low <= figure.high
            if name not in ("ece",):
                assert figure.low <= figure.value <= figure.high, name


def test_decisions_are_counted_as_they_stand_in_the_table(
    said: pd.DataFrame, result: EvaluationResult
):
    in_set = [label in held.split() for label, held in zip(said["label"], said["set"], strict=True)]
    assert value(result, "set_coverage") == pytest.approx(np.mean(in_set))
    assert value(result, "set_size") == pytest.approx(said["set"].str.split().str.len().mean())
    suspected = np.array(["tumor" in names.split() for names in said["suspected"]])
    tumor = (said["label"] == "tumor").to_numpy()
    assert value(result, "sensitivity_tumor") == pytest.approx(suspected[tumor].mean())
    assert value(result, "specificity_tumor") == pytest.approx((~suspected[~tumor]).mean())
    stands = said[said["decision"].isin(CLASSES)]
    wrong = stands[(stands["label"] == "tumor") & (stands["decision"] != "tumor")]
    assert value(result, "missed_alone_tumor") == pytest.approx(len(wrong) / tumor.sum())
    covered = [hit for hit, is_tumor in zip(in_set, tumor, strict=True) if is_tumor]
    assert value(result, "set_coverage_tumor") == pytest.approx(np.mean(covered))
    assert 0 < len(stands) < len(said)
    assert value(result, "answered") == pytest.approx(len(stands) / len(said))
    right = (stands["decision"] == stands["label"]).mean()
    assert value(result, "answered_accuracy") == pytest.approx(right)


def test_the_error_of_the_bins_and_the_end_of_the_curve_are_the_figures(result: EvaluationResult):
    error = sum(b.share * abs(b.accuracy - b.confidence) for b in result.reliability)
    assert value(result, "ece") == pytest.approx(error)
    chance = result.ece_by_chance
    assert 0 < chance.low < chance.value < chance.high < 1
    curve = result.risk_coverage
    assert len(curve.coverage) == len(curve.risk) <= 100
    assert curve.coverage[-1] == pytest.approx(1)
    assert curve.risk[-1] == pytest.approx(1 - value(result, "accuracy"))
    for name in CLASSES:
        drawn = result.curves[name]
        area = np.trapezoid(drawn.tpr, drawn.fpr)
        assert area == pytest.approx(value(result, f"auroc_{name}"), abs=0.01)


def test_whole_scans_are_judged_once_each(said: pd.DataFrame, result: EvaluationResult):
    logs = np.log(said[list(CLASSES)]).groupby(said["scan"]).mean()
    says = logs.idxmax(axis=1)
    truth = said.groupby("scan")["label"].first()
    assert result.scan_figures["accuracy"].value == pytest.approx((says == truth).mean())
    table = sklearn.confusion_matrix(truth, says, labels=CLASSES)
    assert result.scan_confusion == table.tolist()
    assert np.sum(result.confusion) == len(said)


def test_scans_are_ranked_by_how_wrong_they_are(said: pd.DataFrame, result: EvaluationResult):
    ranked = result.scans_ranked
    assert sorted(one.scan for one in ranked) == sorted(said["scan"].unique())
    assert [one.probability for one in ranked] == sorted(one.probability for one in ranked)
    for one in ranked:
        of_scan = np.flatnonzero(said["scan"] == one.scan)
        own = said[one.label].to_numpy()
        assert one.row in of_scan
        assert own[one.row] == own[of_scan].min()
        assert one.slices == len(of_scan)
    wrong = [one.predicted != one.label for one in ranked]
    assert sum(wrong) == round(30 * (1 - result.scan_figures["accuracy"].value))


def test_rows_are_positions_whatever_the_index(said: pd.DataFrame, result: EvaluationResult):
    other = said.set_index(np.arange(len(said))[::-1] + 1000)
    assert evaluated(other) == result


def test_groups_add_up_and_leave_open_what_they_cannot_know(said: pd.DataFrame):
    plain = (said["label"] == "tumor").to_numpy()
    phase = np.where(plain, "plain", "enhanced")
    groups = evaluated(said.assign(phase=phase, width=np.where(plain, 256, 512))).groups
    assert list(groups) == ["phase", "plane", "size"]
    assert list(groups["size"]) == ["256 x 512", "512 x 512"]
    assert groups["plane"]["axial"].slices == len(said)
    of_plain = groups["phase"]["plain"]
    assert of_plain.slices == plain.sum()
    assert of_plain.scans == said["scan"][plain].nunique()
    assert of_plain.figures["macro_auroc"] is None
    assert of_plain.figures["recall_normal"] is None
    assert of_plain.figures["accuracy"] == of_plain.figures["recall_tumor"]


def test_patients_are_what_is_resampled(said: pd.DataFrame):
    """Two scans a patient that say the same are no more certain than one."""
    twin = said.assign(scan=said["scan"] + "-again")
    both = evaluated(pd.concat([said, twin]))
    assert (both.scans, both.patients) == (60, 30)
    once = evaluated(said)
    for kind in ("figures", "scan_figures"):
        same, one = (getattr(result, kind)["accuracy"] for result in (both, once))
        assert same.model_dump() == pytest.approx(one.model_dump())


def test_a_class_that_does_not_occur_leaves_its_figures_open():
    labels, scans = np.repeat([0, 1], 10), np.repeat([f"s{n}" for n in range(10)], 2)
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), 20)
    result = evaluated(said_of(labels, probabilities, scans, CLASSES))
    assert result.figures["sensitivity_tumor"] == Figure(value=None, low=None, high=None)
    assert result.figures["specificity_tumor"].value is not None
    assert result.curves["tumor"].fpr == []
    assert result.scan_figures["macro_auroc"].value is not None


def test_a_model_that_lets_nothing_stand_has_no_accuracy_of_what_stands(said: pd.DataFrame):
    result = evaluated(said.assign(decision="needs_review"))
    few = 1 - 0.025 ** (1 / 30)  # none of 30 patients
    answered = result.figures["answered"]
    assert (answered.value, answered.low, answered.high) == (0.0, 0.0, pytest.approx(few))
    assert result.figures["missed_alone_tumor"].value == 0.0
    assert result.figures["answered_accuracy"].value is None
    none = evaluated(said.assign(suspected=""))
    assert none.figures["sensitivity_tumor"].value == 0.0
    assert none.figures["specificity_tumor"].value == 1.0


def test_the_alarm_is_put_into_a_clinic(result: EvaluationResult):
    rates = [value(result, f"{kind}_tumor") for kind in ("sensitivity", "specificity")]
    rare = result.predictive_values["tumor"]["0.003"]
    expected = rates[0] * 0.003 / (rates[0] * 0.003 + (1 - rates[1]) * 0.997)
    assert rare["ppv"] == pytest.approx(expected)
    assert result.predictive_values["tumor"]["0.05"]["ppv"] > expected
    curve = result.decision_curves["tumor"]
    assert len(curve["threshold"]) == len(curve["model"]) == len(curve["everyone"])
    assert set(result.decision_curves) == {"cyst", "tumor"}
