"""What a reader sees in OHIF: the built viewer from npm, in Chromium, over a real Orthanc."""

import dataclasses
import io
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from kidney.data.phantom.files import write_dicom_series
from kidney.data.phantom.scan import generate_scan
from tests.helpers.ohif import unpack_ohif, viewer
from tests.helpers.orthanc import Orthanc, read
from tests.helpers.waiting import GUARD

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack_ohif(tmp_path_factory.mktemp("ohif"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium on PATH (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        webgl = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--ignore-gpu-blocklist", *webgl]
        )
        yield browser
        browser.close()


def send_phantom(orthanc: Orthanc, folder: Path, brighter: int) -> None:
    """Send a scan by storescu; brighter slices hold a tumour for the tiny model."""
    scan = generate_scan(7, "tumor", size=128, max_slices=6)
    hu = scan.hu.copy()
    hu[2:5] = np.clip(hu[2:5].astype(int) + brighter, -1000, 1000)
    paths = write_dicom_series(folder / "sent", dataclasses.replace(scan, hu=hu))
    subprocess.run(["storescu", "localhost", str(orthanc.dicom), *paths], check=True)


def opened(browser: Browser, url: str, dataset: Any) -> Page:
    """Open a series of the viewer without its tour and its notice."""
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.set_default_timeout(GUARD * 1000)
    page.goto(
        f"{url}/viewer?StudyInstanceUIDs={dataset.StudyInstanceUID}"
        f"&initialSeriesInstanceUID={dataset.SeriesInstanceUID}"
    )
    page.get_by_text("Skip all").click()
    page.get_by_text("Confirm and hide").click()
    return page


def colours(page: Page) -> np.ndarray:
    """What the page shows beside its lists: uint8 (H, W, 3)."""
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    return np.asarray(picture)[160:860, 300:1340]


@pytest.mark.parametrize(
    ("brighter", "words"),
    [
        (400, "Renal mass, probability: "),
        (-150, "Normal, probability: "),
        (30, "Needs a radiologist; "),
    ],
    ids=["tumour", "normal", "needs review"],
)
def test_the_report_shows_its_box_and_probability(
    brighter: int, words: str, orthanc: Orthanc, process: Callable[..., Any], pages: Path,
    browser: Browser, tmp_path: Path,
):  # fmt: skip
    send_phantom(orthanc, tmp_path, brighter)
    process().once()
    (report,) = orthanc.reports()
    with viewer(pages, orthanc.http) as url:
        page = opened(browser, url, report)
        label = page.locator("svg text", has_text=words).first
        label.wait_for(state="attached")
        assert "%" in (label.text_content() or "")
        page.wait_for_function("document.querySelectorAll('svg line, svg path').length > 0")
        picture = colours(page)
        page.screenshot(path=tmp_path / "ohif.png")
        page.close()
    grey = (np.ptp(picture.astype(int), axis=2) < 12) & (picture.max(axis=2) > 40)
    green = (picture[..., 1].astype(int) - picture[..., 0]) > 60
    assert grey.mean() > 0.1  # a CT slice, and no black page
    assert green.sum() > 300  # the box


def test_a_capture_shows_its_words(
    orthanc: Orthanc, process: Callable[..., Any], pages: Path, browser: Browser, tmp_path: Path
):
    send_phantom(orthanc, tmp_path, 400)
    process(captures=True).once()
    with viewer(pages, orthanc.http) as url:
        page = opened(browser, url, read(orthanc.files("OT")[0]))

        def yellow() -> int:
            picture = colours(page).astype(int)
            return int(((picture[..., 0] > 180) & (picture[..., 2] < 90)).sum())

        page.wait_for_selector("canvas")
        for _ in range(600):
            if yellow() > 300:
                break
            page.wait_for_timeout(200)
        page.screenshot(path=tmp_path / "ohif.png")
        assert yellow() > 300
        page.close()
