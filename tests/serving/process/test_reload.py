import dataclasses
import os
import time
from pathlib import Path

import pytest

from kidney.files import sha256
from kidney.serving.inference.engine import Engine
from kidney.serving.process.reload import Reloader
from kidney.serving.settings import Settings
from tests.helpers.tiny_model import CARD, write_tiny_model
from tests.helpers.web import serving

OTHER = dataclasses.replace(CARD, run="another-run")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(model=aged(write_tiny_model(tmp_path / "kidney.onnx")), threads=1)


def aged(path: Path) -> Path:
    """Let a file be one that was written a while ago."""
    before = time.time() - 60
    os.utime(path, (before, before))
    return path


def other(path: Path) -> Path:
    return write_tiny_model(path.with_name("other.onnx"), card=OTHER)


def test_a_file_that_replaces_the_model_takes_over(settings: Settings):
    engine = Engine(settings)
    reloader = Reloader(engine, settings)
    reloader.check()
    assert engine.swaps == 0
    aged(other(settings.model)).replace(settings.model)
    reloader.check()
    assert engine.model.card.run == "another-run"
    reloader.check()
    assert engine.swaps == 1


def test_a_file_that_is_written_to_now_is_looked_at_later(settings: Settings):
    engine = Engine(settings)
    reloader = Reloader(engine, settings)
    settings.model.write_bytes(other(settings.model).read_bytes())
    reloader.check()
    assert (engine.swaps, engine.refusals) == (0, 0)
    aged(settings.model)
    reloader.check()
    assert engine.swaps == 1


def test_a_file_that_is_refused_is_refused_once(settings: Settings):
    engine = Engine(settings)
    reloader = Reloader(engine, settings)
    settings.model.write_bytes(b"no model")
    aged(settings.model)
    for _ in range(3):
        reloader.check()
    assert (engine.swaps, engine.refusals) == (0, 1)
    settings.model.unlink()
    reloader.check()
    assert engine.refusals == 1, "a file that is gone is no new model"
    aged(other(settings.model)).replace(settings.model)
    reloader.check()
    assert (engine.swaps, engine.refused) == (1, "")


def test_another_file_than_the_one_asked_for_is_refused(settings: Settings):
    settings = dataclasses.replace(settings, model_sha256=sha256(settings.model))
    engine = Engine(settings)
    reloader = Reloader(engine, settings)
    aged(other(settings.model)).replace(settings.model)
    reloader.check()
    assert engine.swaps == 0
    assert settings.model_sha256 in engine.refused


def test_a_new_version_where_it_comes_from_is_fetched_and_takes_over(settings: Settings):
    new = other(settings.model)
    first, second = (f"{sha256(path)}  kidney.onnx\n".encode() for path in (settings.model, new))
    with serving(settings.model.read_bytes(), beside={"/set.zip.sha256": first}) as web:
        settings = dataclasses.replace(settings, model_from=web.url)
        engines = [Engine(settings) for _ in range(2)]
        reloaders = [Reloader(engine, settings) for engine in engines]

        def check() -> None:
            for reloader in reloaders:
                reloader.check()

        check()
        assert [asked["path"] for asked in web.asked] == ["/set.zip.sha256"], "one process asks"
        web.data, web.beside = new.read_bytes(), {"/set.zip.sha256": second}
        check()
        assert settings.model.read_bytes() == new.read_bytes()
        aged(settings.model)
        check()
        assert [engine.model.card.run for engine in engines] == ["another-run"] * 2
        assert [asked["path"] for asked in web.asked].count("/set.zip") == 1


def test_a_new_version_that_cannot_be_had_leaves_the_old_one(settings: Settings):
    served = settings.model.read_bytes()
    with serving(b"no model", beside={"/set.zip.sha256": b"0" * 64}) as web:
        settings = dataclasses.replace(settings, model_from=web.url)
        engine = Engine(settings)
        reloader = Reloader(engine, settings)
        for _ in range(3):
            reloader.check()
    assert settings.model.read_bytes() == served
    assert (engine.swaps, engine.refusals) == (0, 1)
    reloader.check()  # nobody there any more
    assert engine.refusals == 2
    assert engine.ready
