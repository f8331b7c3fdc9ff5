import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from kidney.imaging.appearance import thumbnail
from kidney.imaging.baseline import baseline
from kidney.serving.inference.engine import Reading, Served
from kidney.serving.monitoring import inputs as module
from kidney.serving.monitoring.inputs import Inputs, drift_families
from tests.helpers.tiny_model import CARD
from tests.helpers.training_slices import drawn


def served(slices: list[np.ndarray], sha256: str = "a" * 64) -> Served:
    """A model that learned from the slices."""
    thumbnails = np.stack([thumbnail(slice_) for slice_ in slices])
    return Served(replace(CARD, baseline=baseline(thumbnails, [s.shape for s in slices])), sha256)


LEARNED = drawn(300, seed=1)
MODEL = served(LEARNED)


@pytest.fixture
def seen(monkeypatch) -> Inputs:
    """Inputs that look when they are told to, at all that waits."""
    monkeypatch.setattr(Inputs, "_look_on", lambda _: None)
    monkeypatch.setattr(module, "_AT_A_TIME", 1000)
    seen = Inputs(CollectorRegistry())
    return seen


def feed(seen: Inputs, slices: list[np.ndarray], model: Served = MODEL) -> None:
    for start in range(0, len(slices), 10):
        for slice_ in slices[start : start + 10]:
            seen.observe([slice_], Reading(model, []))
        seen.look()


def told(seen: Inputs, model: Served = MODEL) -> dict[str, float]:
    """What a scrape says: input -> index, and "slices"."""
    (recent,) = seen._gauge.collect()
    families = {family.name: family.samples for family in drift_families(model, recent)}
    found = {sample.labels["input"]: sample.value for sample in families["kidney_drift_psi"]}
    return found | {"slices": families["kidney_drift_slices"][0].value}


def test_slices_like_those_of_the_training_are_near(seen):
    feed(seen, drawn(500, seed=2))
    found = told(seen)
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
    found = told(seen)
    found.pop("slices")
    assert {name for name, value in found.items() if value > 0.25} >= moved
    assert found["view"] < 0.1


def test_what_was_fades(seen):
    feed(seen, drawn(500, seed=2, brighter=60))
    before = told(seen)["grey"]
    for part in range(10):
        feed(seen, drawn(300, seed=3 + part))
    after = told(seen)["grey"]
    assert before > 0.25
    assert after < 0.1


def test_another_model_starts_anew_with_its_own_baseline(seen):
    feed(seen, drawn(300, seed=2))
    brighter = drawn(300, seed=4, brighter=60)
    other = served(brighter, sha256="b" * 64)
    assert told(seen, other)["slices"] == 0  # until something is read by it, nothing is compared
    feed(seen, brighter, other)
    found = told(seen, other)
    assert 250 < found.pop("slices") < 300
    assert max(found.values()) < 0.1
    assert told(seen)["slices"] == 0


def test_a_long_series_is_a_few_slices_from_all_over_it(seen):
    series = [np.full((40, 50), number, np.uint8) for number in range(100)]
    seen.observe(series, Reading(MODEL, []))
    greys = [int(one.picture[0, 0]) for one in seen._waiting]
    assert greys == [12, 37, 62, 87]


def test_little_is_remembered_and_nothing_of_what_it_was_cut_from(monkeypatch):
    monkeypatch.setattr(Inputs, "_look_on", lambda _: None)
    seen = Inputs(CollectorRegistry())
    volume = np.zeros((8, 2100, 3000), np.uint8)
    for slice_ in volume:
        for _ in range(10):
            seen.observe([slice_], Reading(MODEL, []))
    assert len(seen._waiting) == 8
    for one in seen._waiting:
        assert one.picture.base is None
        assert one.picture.size < 2_000_000
        assert one.shape == (2100, 3000)


def test_each_slice_between_two_looks_is_as_likely_to_be_seen(monkeypatch):
    monkeypatch.setattr(Inputs, "_look_on", lambda _: None)
    module.random.seed(0)
    counts = np.zeros(40)
    pictures = [np.full((32, 32), number, np.uint8) for number in range(40)]
    for _ in range(500):
        seen = Inputs(CollectorRegistry())
        for picture in pictures:
            seen.observe([picture], Reading(MODEL, []))
        counts[[int(one.picture[0, 0]) for one in seen._waiting]] += 1
    assert counts.sum() == 8 * 500
    assert 60 < counts.min() < counts.max() < 145


def test_a_card_without_a_baseline_costs_nothing(seen):
    feed(seen, LEARNED[:3], Served(CARD, "c" * 64))
    assert told(seen) == {"slices": 0}


def test_a_thread_looks_and_survives_what_it_sees(monkeypatch, caplog):
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.0)
    seen = Inputs(CollectorRegistry())
    seen.observe([np.zeros((40, 50))], Reading(MODEL, []))
    wait_for(lambda: "could not be compared" in caplog.text)
    seen.observe([LEARNED[0]], Reading(MODEL, []))
    wait_for(lambda: told(seen)["slices"] > 0)
    assert sum(
        thread.name == "inputs" and thread is seen._thread for thread in threading.enumerate()
    )


def wait_for(condition) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)
