import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kidney.evaluation.metrics.calibration import expected_calibration_error
from kidney.evaluation.metrics.classification import labels_of
from kidney.evaluation.promotion import EvaluationRecord, Verdict, judge, macro_auroc_of
from tests.helpers.simulated_models import CLASSES, evidence

WORSE, BETTER = evidence(skill=1.0, seed=1), evidence(skill=2.5, seed=1)
REPEATS = 60


def gate(
    champion: EvaluationRecord | None, challenger: EvaluationRecord, **margins: Any
) -> Verdict:
    return judge(
        champion,
        challenger,
        **{"max_ece_rise": 0.1, "max_localisation_fall": 0.1, "repeats": REPEATS, **margins},
    )


def ece(model: EvaluationRecord) -> float:
    probabilities = model.predictions[list(CLASSES)].to_numpy()
    right = probabilities.argmax(axis=1) == labels_of(model.predictions, list(CLASSES))
    return expected_calibration_error(probabilities.max(axis=1), right)


def located(hits: list[int], patients: int = 10) -> pd.DataFrame:
    """As many slices a patient as it takes."""
    names = [f"case_{number * patients // len(hits)}" for number in range(len(hits))]
    paths = [f"m{number:03d}.png" for number in range(len(hits))]
    return pd.DataFrame({"path": paths, "frame": 0, "patient": names, "peak_inside": hits})


def with_masks(model: EvaluationRecord, hits: list[int]) -> EvaluationRecord:
    return dataclasses.replace(model, located=located(hits))


def test_a_clearly_better_challenger_is_promoted_and_the_reasons_have_the_numbers():
    verdict = gate(WORSE, BETTER)
    assert verdict.promote
    auroc, calibration, localisation = verdict.reasons
    assert (
        f"macro AUROC is better: {macro_auroc_of(BETTER):.3f} against {macro_auroc_of(WORSE):.3f}"
        in (auroc)
    )
    assert "over 24 patients" in auroc
    assert f"ECE stays: {ece(BETTER):.3f} against {ece(WORSE):.3f}" in calibration
    assert "not measured of the champion and the challenger" in localisation


def test_a_worse_challenger_is_not_promoted():
    verdict = gate(BETTER, WORSE)
    assert not verdict.promote
    assert "macro AUROC is not better" in verdict.reasons[0]


@settings(max_examples=5, deadline=None)
@given(st.floats(0, 4), st.floats(0.2, 5), st.integers(0, 99))
def test_a_model_is_never_promoted_against_itself(skill: float, sharpness: float, seed: int):
    model = with_masks(evidence(skill, sharpness, patients=12, seed=seed), [1, 0] * 10)
    verdict = gate(model, model, repeats=10)
    assert not verdict.promote
    objections = [reason for reason in verdict.reasons if "difference +0.000" in reason]
    assert len(objections) == 3
    assert "macro AUROC is not better" in verdict.reasons[0]
    assert not any("is not better" in reason for reason in verdict.reasons[1:])


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 9999))
def test_the_order_of_rows_does_not_matter(seed: int):
    generator = np.random.default_rng(seed)
    champion = with_masks(evidence(1.0, patients=12), [1, 0, 0, 1, 1] * 4)
    challenger = with_masks(evidence(1.3, patients=12, seed=1), [1, 1, 0, 0, 1] * 4)

    def shuffled(model: EvaluationRecord) -> EvaluationRecord:
        assert model.located is not None
        return EvaluationRecord(
            model.predictions.iloc[generator.permutation(len(model.predictions))],
            model.result.model_copy(
                update={"classes": tuple(generator.permutation(model.result.classes))}
            ),
            model.located.iloc[generator.permutation(len(model.located))],
        )

    expected = gate(champion, challenger, repeats=10)
    assert gate(shuffled(champion), shuffled(challenger), repeats=10) == expected


def test_a_gain_that_chance_can_explain_is_not_enough():
    other, luckier = evidence(skill=1.5, seed=4), evidence(skill=1.5, seed=5)
    assert macro_auroc_of(luckier) > macro_auroc_of(other) + 0.05
    assert "macro AUROC is not better" in gate(other, luckier).reasons[0]


def test_better_answers_that_are_too_sure_are_refused_with_that_reason():
    boastful = evidence(skill=1.6, sharpness=6.0, seed=1)
    verdict = gate(evidence(skill=0.6, seed=1), boastful, max_ece_rise=0.05)
    assert not verdict.promote
    assert f"ECE is not shown to stay: {ece(boastful):.3f} against" in verdict.reasons[0]
    assert "does not exclude that it is worse by 0.05" in verdict.reasons[0]
    assert "macro AUROC is better" in verdict.reasons[1]


def test_calibration_that_is_shown_to_be_worse_is_refused_however_wide_the_margin():
    champion, sharper = (
        evidence(skill, sharpness, patients=80) for skill, sharpness in ((0.6, 1.0), (1.2, 12.0))
    )
    verdict = gate(champion, sharper, max_ece_rise=1.0)
    assert not verdict.promote
    assert "ECE is worse" in verdict.reasons[0]


@pytest.mark.parametrize(("patients", "promoted"), [(12, False), (200, True)])
def test_few_patients_count_against_the_challenger_not_for_it(patients: int, promoted: bool):
    champion, challenger = (evidence(skill, patients=patients, seed=1) for skill in (0.8, 1.6))
    assert ece(challenger) - ece(champion) < 0.06
    assert gate(champion, challenger, max_ece_rise=0.06).promote is promoted


@pytest.mark.parametrize(
    ("before", "after", "promoted", "says"),
    [
        ([1, 0] * 20, [1, 1] * 20, True, "lesion stays: 1.000 against 0.500"),
        ([1, 1] * 20, [1, 0] * 20, False, "lesion is worse: 0.500 against 1.000"),
        ([1, 1] * 20, [1] * 36 + [0] * 4, False, "does not exclude that it is worse by 0.1"),
        ([1, 0] * 20, [1, 0] * 20, True, "over 10 patients"),
    ],
)
def test_localisation_must_not_fall(before: list, after: list, promoted: bool, says: str):
    verdict = gate(with_masks(WORSE, before), with_masks(BETTER, after))
    assert verdict.promote is promoted
    assert says in " ".join(verdict.reasons)
    assert ("share of peaks inside the lesion" in verdict.reasons[0]) is not promoted


def test_localisation_that_only_one_has_is_not_compared():
    verdict = gate(WORSE, with_masks(BETTER, [0] * 20))
    assert verdict.promote
    assert "not measured of the champion." in verdict.reasons[-1]


def test_localisation_on_different_slices_is_refused():
    verdict = gate(with_masks(WORSE, [1] * 20), with_masks(BETTER, [1] * 30))
    assert not verdict.promote
    assert "different slices" in verdict.reasons[0]


def without(model: EvaluationRecord, rows: int) -> EvaluationRecord:
    return dataclasses.replace(model, predictions=model.predictions.iloc[rows:])


def relabelled(model: EvaluationRecord) -> EvaluationRecord:
    predictions = model.predictions.copy()
    predictions.loc[predictions["patient"] == "p00", "label"] = "stone"
    return dataclasses.replace(model, predictions=predictions)


def of_data(model: EvaluationRecord, fingerprint: str) -> EvaluationRecord:
    data = model.result.data.model_copy(update={"fingerprint": fingerprint})
    return dataclasses.replace(model, result=model.result.model_copy(update={"data": data}))


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (without(WORSE, 3), "0 slices are in the champion's evaluation alone and 3 in the"),
        (relabelled(WORSE), "have another label or patient"),
        (of_data(WORSE, "1"), "expected the same data, but the champion's evaluation has 1 and"),
        (evidence(fingerprint="s2"), "expected the same split, but"),
        (evidence(fold=0), "expected the same fold, but the champion's evaluation has 0 and"),
        (evidence(name="leaky"), "slices of its test patients were in training"),
        (evidence(name="external"), "nobody knows whether its training saw these slices"),
        (evidence(part="val"), "of the val part"),
    ],
)
def test_what_cannot_be_compared_is_refused_and_told(other: EvaluationRecord, says: str):
    for verdict in (gate(other, BETTER), gate(BETTER, other)):
        assert not verdict.promote
        assert len(verdict.reasons) == 1
    assert says in gate(other, BETTER).reasons[0]


def test_other_classes_are_refused():
    challenger = dataclasses.replace(
        BETTER, result=BETTER.result.model_copy(update={"classes": ("normal", "cyst", "tumor")})
    )
    assert "the same classes" in gate(WORSE, challenger).reasons[0]


@pytest.mark.parametrize("first", [True, False], ids=["no champion yet", "a champion"])
def test_a_leak_is_seen_in_the_folds_whatever_the_split_is_called(first: bool):
    predictions = BETTER.predictions.assign(fold=np.arange(len(BETTER.predictions)) % 5)
    verdict = gate(None if first else WORSE, dataclasses.replace(BETTER, predictions=predictions))
    assert not verdict.promote
    assert "24 patients lie in more than one fold" in verdict.reasons[0]


def test_a_slice_that_is_named_twice_is_refused():
    twice = dataclasses.replace(
        BETTER, predictions=pd.concat([BETTER.predictions, BETTER.predictions.iloc[:1]])
    )
    assert "names a slice twice" in gate(WORSE, twice).reasons[0]


def test_the_first_champion_has_to_be_above_chance_beyond_its_interval():
    verdict = gate(None, WORSE)
    assert verdict.promote
    assert "no champion yet, and the macro AUROC by patient is above chance" in verdict.reasons[0]
    assert f"{macro_auroc_of(WORSE):.3f} (95 % interval" in verdict.reasons[0]
    verdict = gate(None, evidence(skill=0.0))
    assert not verdict.promote
    assert "not above chance" in verdict.reasons[0]


def test_a_leaky_evaluation_makes_no_first_champion():
    assert not gate(None, evidence(skill=3.0, name="leaky")).promote


def test_one_class_alone_makes_no_champion():
    one = dataclasses.replace(
        BETTER, predictions=BETTER.predictions[BETTER.predictions["label"] == "tumor"]
    )
    assert "not defined" in gate(None, one).reasons[0]
    assert not gate(one, one).promote


def test_a_challenger_that_is_no_better_passes_as_seldom_as_stated():
    """The percentile bootstrap before let 13 of 200 pass, where 2.5 % were stated."""
    passed = 0
    for seed in range(120):
        champion, challenger = (
            evidence(skill=0.8, patients=16, slices=1, seed=2 * seed + n) for n in (0, 1)
        )
        reasons = gate(champion, challenger, repeats=79).reasons
        passed += any("macro AUROC is better" in reason for reason in reasons)
    assert passed / 120 <= 0.025 + 3 * np.sqrt(0.025 * 0.975 / 120)
