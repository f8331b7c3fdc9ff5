import threading
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from kidney.artifact.card import Baseline
from kidney.imaging.appearance import baseline, thumbnail
from kidney.serving.inference.engine import Served
from kidney.serving.monitoring import drift as module
from kidney.serving.monitoring.drift import (
    Feature,
    RecentInputs,
    count,
    drift_families,
    features,
    population_stability_index,
)
from tests.helpers.tiny_model import CARD
from tests.helpers.training_slices import drawn

psi = population_stability_index


def baseline_of(slices: list[np.ndarray]) -> Baseline:
    thumbnails = np.stack([thumbnail(slice_) for slice_ in slices])
    return Baseline(**baseline(thumbnails, [slice_.shape for slice_ in slices]))


def served(slices: list[np.ndarray], sha256: str = "a" * 64) -> Served:
    """A model that was trained on the slices."""
    card = replace(CARD, baseline=baseline_of(slices))
    return Served(SimpleNamespace(card=card, sha256=sha256))


LEARNED = drawn(300, seed=1)
MODEL = served(LEARNED)


@pytest.fixture
def seen(monkeypatch) -> RecentInputs:
    """RecentInputs that look when they are told to, at all that waits."""
    monkeypatch.setattr(RecentInputs, "_run", lambda _: None)
    monkeypatch.setattr(module, "_SAMPLE", 1000)
    seen = RecentInputs(CollectorRegistry())
    return seen


def feed(seen: RecentInputs, slices: list[np.ndarray], model: Served = MODEL) -> None:
    for start in range(0, len(slices), 10):
        for slice_ in slices[start : start + 10]:
            seen.observe(model, [slice_])
        seen.update()


def scraped(seen: RecentInputs, model: Served = MODEL) -> dict[str, float]:
    """What a scrape has: input -> index, and "slices"."""
    (recent,) = seen._gauge.collect()
    families = {family.name: family.samples for family in drift_families(model, recent)}
    found = {sample.labels["input"]: sample.value for sample in families["kidney_drift_psi"]}
    return found | {"slices": families["kidney_drift_slices"][0].value}


def test_slices_like_those_of_the_training_are_near(seen):
    feed(seen, drawn(500, seed=2))
    found = scraped(seen)
    assert 390 < found.pop("slices") < 500  # the first ones have faded a little
    assert len(found) == 7
    assert max(found.values()) < 0.1


@pytest.mark.parametrize(
    ("change", "moved"),
    [
        ({"brighter": 60}, {"grey", "soft_grey", "enhancement"}),
        ({"sizes": ((77, 99),)}, {"sizes"}),
        ({"enhanced": 1.0}, {"phase", "enhancement"}),
    ],
    ids=["brighter", "another size", "another phase"],
)
def test_what_changes_is_what_moves(seen, change, moved):
    feed(seen, drawn(400, seed=2, **change))
    found = scraped(seen)
    found.pop("slices")
    assert {name for name, value in found.items() if value > 0.25} >= moved
    assert found["plane"] < 0.1


def test_what_was_fades(seen):
    feed(seen, drawn(500, seed=2, brighter=60))
    before = scraped(seen)["grey"]
    for part in range(10):
        feed(seen, drawn(300, seed=3 + part))
    after = scraped(seen)["grey"]
    assert before > 0.25
    assert after < 0.1


def test_another_model_starts_anew_with_its_own_baseline(seen):
    feed(seen, drawn(300, seed=2))
    brighter = drawn(300, seed=4, brighter=60)
    other = served(brighter, sha256="b" * 64)
    assert scraped(seen, other)["slices"] == 0  # until something is read by it, nothing is compared
    feed(seen, brighter, other)
    found = scraped(seen, other)
    assert 250 < found.pop("slices") < 300
    assert max(found.values()) < 0.1
    assert scraped(seen)["slices"] == 0


def test_a_long_series_is_a_few_slices_from_all_over_it(seen):
    series = [np.full((40, 50), number, np.uint8) for number in range(100)]
    seen.observe(MODEL, series)
    greys = [int(one.picture[0, 0]) for one in seen._sample]
    assert greys == [12, 37, 62, 87]


def test_little_is_remembered_and_nothing_of_what_it_was_cut_from(monkeypatch):
    monkeypatch.setattr(RecentInputs, "_run", lambda _: None)
    seen = RecentInputs(CollectorRegistry())
    volume = np.zeros((8, 2100, 3000), np.uint8)
    for slice_ in volume:
        for _ in range(10):
            seen.observe(MODEL, [slice_])
    assert len(seen._sample) == 8
    for one in seen._sample:
        assert one.picture.base is None
        assert one.picture.size < 2_000_000
        assert one.shape == (2100, 3000)


def test_each_slice_between_two_looks_is_as_likely_to_be_seen(monkeypatch):
    monkeypatch.setattr(RecentInputs, "_run", lambda _: None)
    module.random.seed(0)
    counts = np.zeros(40)
    pictures = [np.full((32, 32), number, np.uint8) for number in range(40)]
    for _ in range(500):
        seen = RecentInputs(CollectorRegistry())
        for picture in pictures:
            seen.observe(MODEL, [picture])
        counts[[int(one.picture[0, 0]) for one in seen._sample]] += 1
    assert counts.sum() == 8 * 500
    assert 60 < counts.min() < counts.max() < 145


def test_a_card_without_a_baseline_costs_nothing(seen):
    feed(seen, LEARNED[:3], Served(SimpleNamespace(card=CARD, sha256="c" * 64)))
    assert scraped(seen) == {"slices": 0}


def test_a_thread_looks_and_survives_what_it_sees(monkeypatch, caplog):
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.0)
    seen = RecentInputs(CollectorRegistry())
    seen.observe(MODEL, [np.zeros((40, 50))])
    wait_for(lambda: "could not be compared" in caplog.text)
    seen.observe(MODEL, [LEARNED[0]])
    wait_for(lambda: scraped(seen)["slices"] > 0)
    assert sum(
        thread.name == "drift" and thread is seen._thread for thread in threading.enumerate()
    )


def wait_for(condition) -> None:
    until = time.monotonic() + 180
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def feature(**changed: Any) -> Feature:
    """The feature of a baseline in which it is changed."""
    (name,) = changed
    (one,) = [one for one in features(replace(MODEL.card.baseline, **changed)) if one.name == name]
    return one


def test_the_index_is_that_of_the_formula():
    expected, observed = np.array([0.5, 0.3, 0.2]), np.array([0.4, 0.3, 0.3])
    by_hand = (-0.1) * np.log(0.8) + 0.1 * np.log(1.5)
    assert psi(expected, observed) == pytest.approx(by_hand)
    assert psi(observed, expected) == pytest.approx(by_hand)
    assert psi(expected, observed * 1234) == pytest.approx(by_hand)
    assert psi(expected, expected) == 0


def test_an_empty_bin_is_far_and_not_infinitely():
    assert 5 < psi(np.array([1.0, 0.0]), np.array([0.0, 7.0])) < 20
    assert psi(np.array([1.0, 0.0]), np.array([0.99, 0.01])) < 0.1


def test_chance_alone_moves_it_by_bins_over_slices():
    draws = np.random.default_rng(0).multinomial(500, [0.1] * 10, size=400)
    found = [psi(np.full(10, 0.1), draw.astype(float)) for draw in draws]
    assert np.mean(found) == pytest.approx(9 / 500, rel=0.1)


def test_what_the_baseline_was_made_of_is_where_it_expects():
    slices = drawn(400, seed=1)
    thumbnails = np.stack([thumbnail(slice_) for slice_ in slices])
    shapes = [slice_.shape for slice_ in slices]
    compared = features(baseline_of(slices))
    names = ["grey", "sizes", "phase", "plane", "enhancement", "soft_grey", "body_share"]
    assert [one.name for one in compared] == names
    for one, counts in zip(compared, count(compared, thumbnails, shapes), strict=True):
        assert one.expected.sum() == pytest.approx(1, abs=1e-3)
        assert counts.sum() == pytest.approx(400)
        assert len(one.bins) == len(set(one.bins)) == len(counts)
        assert psi(one.expected, counts) < 0.02, one.name


def test_a_size_that_is_new_is_among_the_others():
    sizes = feature(sizes={"50 x 40": 0.75, "40 x 50": 0.25})
    assert sizes.bins == ("50 x 40", "40 x 50", "other")
    thumbnails = np.zeros((3, 96, 96), np.uint8)
    (counts,) = count([sizes], thumbnails, [(40, 50), (40, 50), (33, 44)])
    assert counts.tolist() == [2, 0, 1]


def test_of_many_sizes_the_common_ones_have_a_bin():
    sizes = feature(sizes={f"{side} x {side}": 0.04 for side in range(100, 125)})
    assert len(sizes.bins) == 16
    assert sizes.expected[-1] == pytest.approx(0.4)


def test_deciles_that_coincide_are_one_edge_in_their_middle():
    one = feature(soft_grey=(0, 0, 0, 0, 10, 20, 20, 30, 40, 50, 60))
    # 0 is the deciles 1 to 3 and so the place 0.2, 20 is 5 and 6
    assert one.edges.tolist() == [0, 10, 20, 30, 40, 50]
    assert one.expected.tolist() == pytest.approx([0.2, 0.2, 0.15, 0.15, 0.1, 0.1, 0.1])
    assert one.bins[0] == "to 0"
    assert one.bins[-1] == "50 on"


def test_a_value_on_an_edge_lies_on_both_sides():
    one = feature(body_share=(0, *[0.1 * n for n in range(1, 10)], 1))
    black = np.zeros((4, 96, 96), np.uint8)
    (counts,) = count([one], black, [(96, 96)] * 4)
    assert counts[0] == 4
    half = feature(body_share=(0, *[0.0] * 5, *[0.5] * 4, 1))
    (counts,) = count([half], black, [(96, 96)] * 4)
    assert counts.tolist() == [2, 2, 0]


def test_a_card_without_a_baseline_has_nothing_to_compare():
    assert features(None) == []
