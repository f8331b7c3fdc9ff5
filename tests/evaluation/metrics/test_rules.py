import json
from dataclasses import asdict

import numpy as np
import pytest

from kidney.artifact.decision import ACCEPT_NOTHING, Rules, decide
from kidney.evaluation.metrics.rules import fit_rules
from kidney.evaluation.metrics.scan_level import scan_weights
from tests.helpers.simulated_scans import simulated

CLASSES = ("normal", "cyst", "tumor")
ASKED = {"sensitivity": 0.9, "coverage": 0.9, "risk": 0.1, "id_acceptance": 0.95}


def fitted(seed: int = 0, scans: int = 60, ood_scores=None, **asked: float) -> Rules:
    labels, probabilities, names = simulated(np.random.default_rng(seed), scans, skill=3.0)
    return fit_rules(labels, probabilities, names, ood_scores, CLASSES, **(ASKED | asked))


def test_the_rules_do_on_fresh_scans_what_was_asked_for():
    rules = fitted()
    labels, probabilities, names = simulated(np.random.default_rng(1), 400, skill=3.0)
    weights = scan_weights(names)
    said = [decide(row, CLASSES, rules) for row in probabilities]
    truth = [CLASSES[label] for label in labels]

    def share(values: list[bool], where: np.ndarray) -> float:
        return float(np.average(np.array(values)[where], weights=weights[where]))

    everywhere = np.ones(len(said), bool)
    pairs = list(zip(said, truth, strict=True))
    assert share([name in one.prediction_set for one, name in pairs], everywhere) > 0.86
    for finding in ("cyst", "tumor"):
        has = np.array([name == finding for name in truth])
        assert share([finding in one.suspected for one in said], has) > 0.83
    stands = np.array([one.outcome in CLASSES for one in said])
    assert stands.mean() > 0.5
    assert share([one.label != name for one, name in pairs], stands) < 0.13


def test_rules_are_json():
    rules = fitted(ood_scores=None)
    assert Rules(**json.loads(json.dumps(asdict(rules), allow_nan=False))) == rules
    assert set(rules.suspect_from) == {"cyst", "tumor"}
    assert rules.ood_above is None


def test_few_scans_promise_little():
    rules = fitted(scans=4)
    assert rules.set_from == 0.0
    assert rules.review_below == ACCEPT_NOTHING


def test_a_finding_without_validation_scans_is_always_suspected():
    labels, probabilities, names = simulated(np.random.default_rng(0), 30)
    no_tumor = labels != 2
    rules = fit_rules(
        labels[no_tumor], probabilities[no_tumor], names[no_tumor], None, CLASSES, **ASKED
    )
    assert rules.suspect_from["tumor"] == 0.0
    assert rules.suspect_from["cyst"] > 0.0


@pytest.mark.parametrize("id_acceptance", [0.5, 0.95, 1.0])
def test_the_stated_share_of_scans_is_accepted(id_acceptance: float):
    labels, _, names = simulated(np.random.default_rng(0), 60)
    scores = np.random.default_rng(2).normal(size=len(labels))
    above = fitted(ood_scores=scores, id_acceptance=id_acceptance).ood_above
    assert above is not None
    weights = scan_weights(names)
    assert np.average(scores <= above, weights=weights) >= id_acceptance - 1e-9
    assert np.average(scores < above, weights=weights) < id_acceptance
