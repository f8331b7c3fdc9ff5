"""One server, one browser, and pages that fail a test in which they do what they must not."""

import base64
import dataclasses
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from pydicom.uid import generate_uid
from werkzeug.serving import make_server

from kidney.serving.app import create_app
from kidney.serving.guards.keys import entry
from kidney.serving.settings import Settings
from tests.helpers.dicom_files import changed, phantom_series
from tests.helpers.tiny_model import CARD, write_tiny_model
from tests.helpers.waiting import address_of

ROOT = Path(__file__).parents[2]
KEY = "a-key-for-the-browser-tests-0123456789"
# By the tiny model, which measures brightness, only the third and the fifth slice are suspicious.
LEVELS = (-1000, -1000, 40, -1000, 90, -1000)
SUSPICIOUS = (3, 5)
FOREIGN_FROM = 0.99  # a white slice is foreign


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    card = dataclasses.replace(CARD, rules=dataclasses.replace(CARD.rules, ood_above=FOREIGN_FROM))
    path = tmp_path_factory.mktemp("model") / "kidney.onnx"
    return write_tiny_model(path, card=card, ood_score=True)


@pytest.fixture(scope="session")
def address(model: Path) -> Iterator[str]:
    environment = {name: value for name, value in os.environ.items() if "KIDNEY_" not in name}
    process = subprocess.Popen(
        [sys.executable, "serve.py", "--model", str(model), "--port", "0", "--threads", "1"],
        cwd=ROOT,
        env=environment | {"KIDNEY_AUTH": "off"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    yield address_of(process)
    process.kill()
    process.communicate()


@pytest.fixture(scope="session")
def address_with_keys(model: Path) -> Iterator[str]:
    """The same application where a key is asked for, in a thread."""
    settings = Settings(model=model, threads=1, api_keys=(entry("tests", KEY),))
    server = make_server("127.0.0.1", 0, create_app(settings), threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    if path is None:
        reason = "no Chromium on PATH (Debian: apt-get install chromium)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser, address: str) -> Iterator[Callable[..., Page]]:
    """Open the page in a fresh profile; afterwards nothing foreign was asked, nothing refused."""
    contexts: list[Any] = []
    foreign: list[str] = []
    complaints: list[str] = []

    def opened(where: str = "", *, at: str = address, **options: Any) -> Page:
        options = {"service_workers": "block", "viewport": {"width": 1280, "height": 900}} | options
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(300_000)
        host = urlsplit(at).netloc

        def note_request(request: Any) -> None:
            if urlsplit(request.url).netloc not in ("", host):
                foreign.append(request.url)

        def note_complaint(message: Any) -> None:
            if message.type == "error":
                complaints.append(message.text)

        page.on("request", note_request)
        page.on("console", note_complaint)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(at + where)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert foreign == []
    # A status of 400 or more is told in the console too; the page tells it in words.
    assert [text for text in complaints if "Failed to load resource" not in text] == []


def read(page: Page, *files: Any) -> Page:
    """Choose files, send them, and wait for the slice to be drawn."""
    page.wait_for_selector("#send.with-script")  # before, the browser would send the form itself
    page.set_input_files("#file", list(files))
    page.click("#read")
    page.wait_for_selector("#stage[data-shown]")
    return page


def pixels(page: Page, canvas: str) -> np.ndarray:
    """What a canvas shows: uint8 (H, W, 3)."""
    width, height, values = page.evaluate(
        """id => {
          const canvas = document.getElementById(id);
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          const letters = Array.from(data, (value) => String.fromCharCode(value));
          return [canvas.width, canvas.height, btoa(letters.join(""))];
        }""",
        canvas,
    )
    colours = np.frombuffer(base64.b64decode(values), dtype=np.uint8)
    return colours.reshape(height, width, 4)[..., :3]


def at_slice(page: Page, number: int) -> None:
    page.wait_for_selector(f"#stage[data-shown='{number}']")


@pytest.fixture(scope="session")
def hounsfield() -> list[np.ndarray]:
    """The slices of the series from head to feet, int16 (48, 64)."""
    slope = (
        np.arange(64, dtype=np.int16)[None, :] // 2 + np.arange(48, dtype=np.int16)[:, None] // 4
    )
    return [(slope + level).astype(np.int16) for level in LEVELS]


@pytest.fixture(scope="session")
def series(hounsfield: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zip of a DICOM series, its files in no order."""
    folder = tmp_path_factory.mktemp("series")
    _, (first, *_) = phantom_series(folder)
    zipped = folder / "series.zip"
    with zipfile.ZipFile(zipped, "w") as archive:
        for number, hu in reversed(list(enumerate(hounsfield, start=1))):
            stored = (hu.astype(np.int32) + 1024).astype(np.uint16)
            data = changed(
                first.read_bytes(),
                SOPInstanceUID=generate_uid(),
                Rows=48,
                Columns=64,
                RescaleSlope=1,
                RescaleIntercept=-1024,
                PixelRepresentation=0,
                PixelData=stored.tobytes(),
                InstanceNumber=number,
                ImagePositionPatient=[0, 0, -3 * number],
            )
            archive.writestr(f"series/{number * 7 % 5}-{number}", data)
    return zipped
