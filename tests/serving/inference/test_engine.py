import dataclasses
import gc
import logging
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kidney.artifact.predictor import Predictor
from kidney.files import sha256
from kidney.serving.inference.engine import Engine, Reading
from kidney.serving.settings import Settings
from tests.helpers.tiny_model import CARD, write_tiny_model

SLICES = [np.full((40, 48), value, dtype=np.uint8) for value in (0, 255)]
OTHER = dataclasses.replace(CARD, run="another-run")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "kidney.onnx")


@pytest.fixture
def settings(path: Path) -> Settings:
    return Settings(model=path, threads=1, auth=False)


def test_it_answers_as_the_predictor_does(settings: Settings):
    engine = Engine(settings)
    reading = engine.read(SLICES)
    expected = Predictor(settings.model, 1).predict(SLICES)
    for answer, other in zip(reading.answers, expected, strict=True):
        np.testing.assert_array_equal(answer.probabilities, other.probabilities)
    assert reading.model is engine.model
    assert engine.model.sha256 == sha256(settings.model)


def test_who_wants_to_know_is_told_of_every_reading(settings: Settings):
    told: list[Any] = []
    engine = Engine(settings, on_read=lambda slices, reading: told.append((slices, reading)))
    assert told == [], "the warm-up is nobody's slice"
    reading = engine.read(SLICES)
    assert told == [(SLICES, reading)]
    assert isinstance(reading, Reading)


def test_another_file_takes_over_with_its_own_card(settings: Settings):
    engine = Engine(settings)
    before, since = engine.model, engine.since
    write_tiny_model(settings.model, card=OTHER)
    assert engine.model is before
    assert engine.swap()
    reading = engine.read(SLICES)
    assert reading.model.card.run == "another-run"
    assert reading.model.sha256 == sha256(settings.model) != before.sha256
    assert engine.since > since
    assert (engine.swaps, engine.refusals, engine.refused) == (1, 0, "")


def test_the_same_file_does_not_take_over_again(settings: Settings):
    engine = Engine(settings)
    before = engine.model
    assert engine.swap()
    assert engine.model is before
    assert engine.swaps == 0


def test_a_request_ends_with_the_model_it_began_with(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    engine = Engine(settings)
    before = engine.model
    predict, asked = Predictor.predict, []

    def swapped_meanwhile(self: Predictor, slices: Any) -> Any:
        asked.append(self.sha256)
        if len(asked) == 1:
            write_tiny_model(settings.model, card=OTHER)
            assert engine.swap()
        return predict(self, slices)

    monkeypatch.setattr(Predictor, "predict", swapped_meanwhile)
    assert engine.read(SLICES).model is before
    warm_up = engine.model.sha256
    assert asked == [before.sha256, warm_up, before.sha256]


@pytest.mark.parametrize("how", ["broken", "foreign", "missing", "cannot predict", "not pinned"])
def test_the_old_model_stays_where_the_new_one_cannot(
    settings: Settings,
    how: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    if how == "not pinned":
        settings = dataclasses.replace(settings, model_sha256=sha256(settings.model))
    engine = Engine(settings)
    before = engine.model
    write_tiny_model(settings.model, card=OTHER)
    if how == "broken":
        settings.model.write_bytes(settings.model.read_bytes()[:500])
    elif how == "foreign":
        write_tiny_model(settings.model, card=None)
    elif how == "missing":
        settings.model.unlink()
    elif how == "cannot predict":
        predict = Predictor.predict

        def fails(self: Predictor, slices: Any) -> Any:
            if self.sha256 != before.sha256:
                raise RuntimeError("no memory")
            return predict(self, slices)

        monkeypatch.setattr(Predictor, "predict", fails)
    with caplog.at_level(logging.INFO, "kidney.serving"):
        assert not engine.swap()
        assert not engine.swap()
    assert engine.read(SLICES).model is before
    assert engine.ready
    assert (engine.swaps, engine.refusals) == (0, 1)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"The model stays {before.sha256}. A new one was refused: ")
    assert engine.refused in line


def test_the_next_good_file_takes_over_after_a_bad_one(settings: Settings):
    engine = Engine(settings)
    settings.model.write_bytes(b"no model")
    assert not engine.swap()
    write_tiny_model(settings.model, card=OTHER)
    assert engine.swap()
    assert engine.refused == ""
    assert engine.model.card.run == "another-run"


def test_a_model_that_could_not_predict_is_ready_once_another_can(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "predict", lambda *_: 1 / 0)
        engine = Engine(settings)
    assert not engine.ready
    write_tiny_model(settings.model, card=OTHER)
    assert engine.swap()
    assert engine.ready


def test_one_model_remains_in_memory(settings: Settings):
    engine = Engine(settings)
    old = weakref.ref(engine._current[1])
    write_tiny_model(settings.model, card=OTHER)
    engine.swap()
    gc.collect()
    assert old() is None


def test_no_request_fails_or_mixes_while_models_change(settings: Settings):
    engine = Engine(settings)
    cards = [CARD, OTHER]
    failed: list[BaseException] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                reading = engine.read(SLICES)
                assert reading.model.card.run in {"tiny-run", "another-run"}
                assert len(reading.answers) == 2
            except BaseException as error:
                failed.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(1, 11):
        write_tiny_model(settings.model, card=cards[number % 2])
        assert engine.swap()
    stop.set()
    for thread in threads:
        thread.join()
    assert failed == []
    assert engine.swaps == 10
