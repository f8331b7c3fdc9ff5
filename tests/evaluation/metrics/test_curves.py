import numpy as np
import pytest
from sklearn import metrics as sklearn

from kidney.evaluation.metrics.curves import POINTS, curves, thinned


def test_the_curves_are_those_of_sklearn():
    generator = np.random.default_rng(0)
    positive = generator.random(80) < 0.3
    score = generator.integers(0, 20, 80) / 20
    found = curves(positive, score)
    fpr, tpr, _ = sklearn.roc_curve(positive, score, drop_intermediate=False)
    np.testing.assert_allclose(found["fpr"], fpr)
    np.testing.assert_allclose(found["tpr"], tpr)
    precision, recall, _ = sklearn.precision_recall_curve(positive, score)
    np.testing.assert_allclose(found["precision"], precision[::-1])
    np.testing.assert_allclose(found["recall"], recall[::-1])


def test_long_curves_are_thinned_and_keep_their_ends():
    generator = np.random.default_rng(0)
    positive, score = generator.random(5000) < 0.3, generator.random(5000)
    found = curves(positive, score)
    assert all(len(values) <= POINTS for values in found.values())
    assert (found["fpr"][0], found["tpr"][0]) == (0, 0)
    assert (found["fpr"][-1], found["tpr"][-1]) == (1, 1)
    area = np.trapezoid(found["tpr"], found["fpr"])
    assert area == pytest.approx(sklearn.roc_auc_score(positive, score), abs=0.005)


@pytest.mark.parametrize("positive", [True, False])
def test_one_side_alone_has_no_curve(positive: bool):
    found = curves(np.full(5, positive), np.arange(5.0))
    assert found == {"fpr": [], "tpr": [], "precision": [], "recall": []}


def test_thinning_is_even():
    assert thinned(5, 100).tolist() == [0, 1, 2, 3, 4]
    assert thinned(1, 100).tolist() == [0]
    places = thinned(1000, 100)
    assert len(places) == 100
    assert (places[0], places[-1]) == (0, 999)
    assert set(np.diff(places).tolist()) <= {10, 11}
