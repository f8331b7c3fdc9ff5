from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import pairwise_distances

from kidney.artifact.decision import Rules
from kidney.models.checkpoint import Checkpoint, Lineage, load_checkpoint, save_checkpoint
from kidney.models.classifier import KidneyClassifier
from kidney.models.ood import CENTROIDS, HISTOGRAM_BINS, OodScore, intensity_histogram
from tests.helpers.small_network import (
    BACKBONE,
    CLASSES,
    HPARAMS,
    IMAGE_SIZE,
    LINEAGE,
    RULES,
    random_slices,
)

CHANNELS = 6
SCANS = [f"scan{number // 5}" for number in range(200)]


def described(rows: int = 200, seed: int = 0) -> np.ndarray:
    """Features of uneven spread, and greys."""
    generator = np.random.default_rng(seed)
    features = generator.normal(3, np.geomspace(0.1, 50, CHANNELS), (rows, CHANNELS))
    return np.hstack([features, generator.dirichlet(np.ones(HISTOGRAM_BINS), rows)]).astype(
        np.float32
    )


def fitted(values: np.ndarray | None = None, scans: list[str] = SCANS) -> OodScore:
    module = OodScore(CHANNELS)
    module.fit(described() if values is None else values, scans)
    return module


def scores(module: OodScore, values: np.ndarray) -> np.ndarray:
    return module(torch.from_numpy(values)).numpy()


@given(seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=10)
def test_the_score_is_the_distance_to_the_nearest_centroid(seed: int):
    module, values = fitted(), described(7, seed) * 3
    standard = (values - module.mean.numpy()) / module.scale.numpy()
    distances = pairwise_distances(standard, module.centroids.numpy())
    expected = distances.min(axis=1) / np.sqrt(CHANNELS + HISTOGRAM_BINS)
    np.testing.assert_allclose(scores(module, values), expected, rtol=1e-4)


def test_what_was_never_seen_scores_above_what_was():
    module, held_out = fitted(), described(50, seed=1)
    far = held_out + 8 * module.scale.numpy()
    assert scores(module, far).min() > scores(module, held_out).max()


def test_the_scale_of_a_feature_does_not_matter():
    held_out, factor = described(20, seed=1), np.geomspace(0.01, 100, CHANNELS + HISTOGRAM_BINS)
    factor = factor.astype(np.float32)
    ours = scores(fitted(), held_out)
    np.testing.assert_allclose(
        scores(fitted(described() * factor), held_out * factor), ours, rtol=1e-3
    )


def test_a_scan_counts_once_however_many_slices_it_has():
    values = described(4)
    once = fitted(values, ["a", "b", "c", "d"])
    often = fitted(np.vstack([values, np.repeat(values[:1], 30, axis=0)]), [*"abcd", *("a" * 30)])
    torch.testing.assert_close(often.mean, once.mean)
    torch.testing.assert_close(often.scale, once.scale)


def test_fewer_slices_than_centroids_are_their_own_centroids():
    values = described(5)
    module = fitted(values, SCANS[:5])
    assert module.centroids.shape == (CENTROIDS, CHANNELS + HISTOGRAM_BINS)
    np.testing.assert_allclose(scores(module, values), 0, atol=1e-3)


def test_a_feature_that_never_changes_breaks_nothing():
    values = described()
    values[:, 0] = 0.0
    assert np.isfinite(scores(fitted(values), described(9, seed=1))).all()


def test_earlier_stages_are_not_looked_at():
    values, early = described(9, seed=1), np.random.default_rng(0).normal(size=(200, 3))
    early = early.astype(np.float32)
    module = fitted(np.hstack([early, described()]))
    np.testing.assert_array_equal(
        scores(module, np.hstack([early[:9] * 100, values])), scores(fitted(), values)
    )


def test_the_same_slices_give_the_same_score():
    for value, again in zip(fitted().buffers(), fitted().buffers(), strict=True):
        torch.testing.assert_close(value, again, rtol=0, atol=0)


def test_before_it_is_fitted_there_is_no_score():
    assert np.isnan(scores(OodScore(CHANNELS), described(3))).all()


@given(seed=st.integers(0, 1000), size=st.integers(8, 40))
@settings(deadline=None, max_examples=10)
def test_greys_are_shares_and_turn_round_with_the_picture(seed: int, size: int):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand((2, 1, size, size), generator=generator) * 255
    shares = intensity_histogram(images)
    assert shares.shape == (2, HISTOGRAM_BINS)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(2))
    torch.testing.assert_close(intensity_histogram(255 - images), shares.flip(1))


def test_greys_of_a_flat_picture_are_in_its_bin():
    black_and_white = torch.tensor([0.0, 255.0]).view(2, 1, 1, 1).expand(-1, -1, 16, 16)
    shares = intensity_histogram(black_and_white)
    torch.testing.assert_close(shares[0], torch.eye(HISTOGRAM_BINS)[0])
    torch.testing.assert_close(shares[1], torch.eye(HISTOGRAM_BINS)[-1])


@pytest.fixture(scope="module")
def classifier() -> KidneyClassifier:
    """A small one, whose score is fitted on noise; its stages are the last two."""
    torch.manual_seed(0)
    classifier = KidneyClassifier(BACKBONE, "none", IMAGE_SIZE, [-2, -1], 0.0, len(CLASSES)).eval()
    with torch.inference_mode():
        values = classifier.embed(random_slices(12).float()).numpy()
    classifier.ood.fit(values, list("aabbccddeeff"))
    return classifier


def test_the_answer_has_the_score_of_the_features_that_training_keeps(
    classifier: KidneyClassifier,
):
    slices = random_slices(3)  # bright all over: the body is all of the picture
    with torch.inference_mode():
        answer = classifier(slices)
        embedding = classifier.embed(slices.float())
        kept = classifier.ood(embedding), classifier.forward_head(embedding)
    assert answer.ood_score.isfinite().all()
    torch.testing.assert_close(answer.ood_score, kept[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(answer.logits, kept[1], atol=1e-4, rtol=1e-4)


def test_a_checkpoint_keeps_the_score(classifier: KidneyClassifier, tmp_path: Path):
    hparams = replace(HPARAMS, stages=(-2, -1))
    lineage, rules = Lineage.from_dict(LINEAGE), Rules(**RULES)
    save_checkpoint(Checkpoint(classifier, hparams, lineage, rules), tmp_path / "model.ckpt")
    loaded = load_checkpoint(tmp_path / "model.ckpt").classifier
    with torch.inference_mode():
        scores_ = [one(random_slices(2)).ood_score for one in (classifier, loaded)]
    torch.testing.assert_close(scores_[0], scores_[1], rtol=0, atol=0)
