"""Feedback given on the page changes the labels of the next training."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from werkzeug.serving import make_server

from kidney.data.phantom.files import write_class_folders
from kidney.feedback.__main__ import main
from kidney.serving.app import create_app
from kidney.serving.guards.keys import entry
from kidney.serving.settings import Settings
from tests.browser.conftest import KEY, read
from tests.helpers.data_slices import take
from tests.helpers.pictures import encode, gradient

PHONE = {"viewport": {"width": 360, "height": 740}, "color_scheme": "dark"}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("feedback") / "feedback.sqlite"


@pytest.fixture(scope="module")
def with_feedback(model: Path, kept: Path) -> Iterator[str]:
    settings = Settings(
        model=model, threads=1, api_keys=(entry("anna", KEY),), feedback_file=kept, history_days=7
    )
    server = make_server("127.0.0.1", 0, create_app(settings), threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def sign_in(page):
    page.fill("input[name=key]", KEY)
    page.click("main button[type=submit]")
    page.wait_for_selector("#send")
    return page


def test_feedback_on_the_page_changes_the_next_labels(visit, with_feedback, kept, tmp_path):
    source = tmp_path / "phantom"
    write_class_folders(source, scans_per_class=1, size=64, max_slices=4)
    before = take(tmp_path / "data", source, ignore=["masks"]).set_index("path")["label"]
    sent = list(before[before == "cyst"].index[:3])

    page = read(sign_in(visit(at=with_feedback)), *(source / path for path in sent))
    page.check("#feedback input[value=disagree]", force=True)
    page.select_option("#feedback select", "tumor")
    page.fill("#feedback input[name=slices]", "2-3")
    page.click("#feedback button[type=submit]")
    page.locator("#feedback-status", has_text="Noted").wait_for()
    assert not Axe().run(page).response["violations"]

    out = tmp_path / "out"
    assert main(["export", str(kept), str(tmp_path / "data"), "--out", str(out)]) == 0
    table = out / "corrections.csv"
    again = take(tmp_path / "data", source, ignore=["masks"], corrections=table)
    after = again.set_index("path")["label"]
    assert list(after[sent]) == ["cyst", "tumor", "tumor"]
    assert after.drop(sent).equals(before.drop(sent))


def test_the_history_shows_the_result_and_the_reading_on_a_phone(visit, with_feedback, pictured):
    page = read(sign_in(visit(at=with_feedback, **PHONE)), pictured)
    assert not page.is_visible("#feedback-slices")  # one slice needs no choice
    page.check("#feedback input[value=agree]", force=True)
    page.click("#feedback button[type=submit]")
    page.locator("#feedback-status", has_text="Noted").wait_for()
    page.click("text=Your results")
    row = page.locator("tbody tr").first
    row.wait_for()
    assert "none" not in row.locator("td").last.inner_text()
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= PHONE["viewport"]["width"]
    assert not Axe().run(page).response["violations"]


@pytest.fixture
def pictured(tmp_path: Path) -> Path:
    path = tmp_path / "slice.png"
    path.write_bytes(encode(gradient(48, 64)))
    return path
