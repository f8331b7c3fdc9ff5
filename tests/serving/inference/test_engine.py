import dataclasses
import gc
import logging
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kidney.artifact.predictor import Predictor
from kidney.files import sha256
from kidney.serving.inference.engine import Engine
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


def test_it_predicts_as_the_predictor_does(settings: Settings):
    engine = Engine(settings)
    expected = Predictor(settings.model, 1).predict(SLICES)
    for one, other in zip(engine.predict(engine.model, SLICES), expected, strict=True):
        np.testing.assert_array_equal(one.probabilities, other.probabilities)
        assert one.decision == other.decision
    assert engine.model.sha256 == sha256(settings.model)


def test_observers_see_every_request(settings: Settings):
    seen: list[Any] = []
    engine = Engine(settings, on_predict=lambda *request: seen.append(request))
    assert seen == [], "the warm-up is no request"
    predictions = engine.predict(engine.model, SLICES)
    assert seen == [(engine.model, SLICES, predictions)]


def test_a_request_with_many_slices_lets_others_pass(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("kidney.serving.inference.engine.LANES", 1)
    engine, order = Engine(settings), []
    gate, began = threading.Event(), threading.Event()

    def held(_: Predictor, slices: Any) -> Any:
        order.append(int(slices[0][0, 0]))
        began.set()
        gate.wait()
        return slices

    monkeypatch.setattr(Predictor, "predict", held)

    def ask(value: int, count: int) -> threading.Thread:
        slices = [np.full((40, 48), value, np.uint8)] * count
        thread = threading.Thread(target=engine.predict, args=(engine.model, slices))
        thread.start()
        return thread

    threads = [ask(1, 4)]
    began.wait()
    for count, value in enumerate((2, 3), start=1):
        threads.append(ask(value, 1))
        while engine._lanes._work_queue.qsize() < count:
            time.sleep(0.001)
    gate.set()
    for thread in threads:
        thread.join()
    assert order == [1, 2, 3, 1, 1, 1]


def test_another_file_takes_over_with_its_own_card(settings: Settings):
    engine = Engine(settings)
    before = engine.model
    write_tiny_model(settings.model, card=OTHER)
    assert engine.model is before
    assert engine.swap()
    assert engine.model.card.run == "another-run"
    assert engine.model.sha256 == sha256(settings.model) != before.sha256
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
    assert len(engine.predict(before, SLICES)) == 2
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
    assert engine.model is before
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
    old = weakref.ref(engine.model.predictor)
    write_tiny_model(settings.model, card=OTHER)
    engine.swap()
    gc.collect()
    assert old() is None


def test_no_request_fails_while_models_change(settings: Settings):
    engine = Engine(settings)
    cards = [CARD, OTHER]
    failed: list[BaseException] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                assert len(engine.predict(engine.model, SLICES)) == 2
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
