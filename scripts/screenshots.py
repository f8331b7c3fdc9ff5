"""Show the page to its makers: every state, three sizes, light and dark, in screenshots/."""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from kidney.artifact.overlay import png_bytes
from kidney.data.phantom.files import write_dicom_series
from kidney.data.phantom.scan import generate_scan
from kidney.imaging.windows import to_grey

SIZES = {"phone": (360, 740), "tablet": (820, 1180), "desktop": (1440, 900)}
PAPER = {"width": 688, "height": 1016}  # A4 within its margins, in pixels of CSS
MODELS = (Path("artifacts/kidney.onnx"), Path("demo/artifacts/kidney.onnx"))  # of make demo
OUT = Path("screenshots")


def main() -> int:
    """Start the server, walk through the page in each size and scheme, and keep what it shows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="default: the one in artifacts/, or of the demo")
    parser.add_argument("--picture", type=Path, help="a JPEG or PNG slice; default: of a phantom")
    parser.add_argument("--series", type=Path, help="a zip of DICOM; default: of a phantom")
    chosen = parser.parse_args()
    model = chosen.model or next((path for path in MODELS if path.exists()), None)
    if model is None:
        print(f"Expected a model at {MODELS[0]}; make one with `make demo`.", file=sys.stderr)
        return 2
    OUT.mkdir(exist_ok=True)
    picture, series = _phantom(OUT / "phantom")
    with _server(model) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        for size, (width, height) in SIZES.items():
            for scheme in ("light", "dark"):
                page = _page(browser, width, height, scheme)
                page.goto(address)
                _walk(page, f"{size}-{scheme}", chosen.picture or picture, chosen.series or series)
                page.context.close()
        browser.close()
    print(f"{len(list(OUT.glob('*.png')))} pictures in {OUT}/")
    return 0


def _walk(page: Page, name: str, picture: Path, series: Path) -> None:
    def keep(state: str) -> None:
        page.wait_for_timeout(150)  # for the browser to paint
        page.screenshot(path=OUT / f"{state}-{name}.png", full_page=True)

    keep("upload")
    page.set_input_files("#file", {"name": "notes.txt", "mimeType": "", "buffer": b"no slice"})
    page.click("#read")
    page.wait_for_selector("#problem:not([hidden])")
    keep("error")
    for state, path in (("result", picture), ("series", series)):
        page.set_input_files("#file", path)
        page.click("#read")
        page.wait_for_selector("#stage[data-shown]", timeout=120_000)
        keep(state)
        if state == "result":
            page.click("#again")
            page.evaluate("delete document.querySelector('#stage').dataset.shown")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    page.set_viewport_size(PAPER)
    keep("report")
    page.pdf(path=OUT / f"report-{name}.pdf", format="A4")


def _page(browser: Browser, width: int, height: int, scheme: str) -> Page:
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
        has_touch=width < 1000,
        is_mobile=width < 1000,
        service_workers="block",
    )
    return context.new_page()


def _phantom(folder: Path) -> tuple[Path, Path]:
    """Write a picture and a DICOM series of a made-up patient; return the PNG and the zip."""
    shutil.rmtree(folder, ignore_errors=True)
    scan = generate_scan(7, "stone", size=256, max_slices=24)
    write_dicom_series(folder / "series", scan)
    png = folder / "slice.png"
    png.write_bytes(png_bytes(to_grey(scan.hu[len(scan.hu) // 2])))
    return png, Path(shutil.make_archive(str(folder / "series"), "zip", folder / "series"))


@contextmanager
def _server(model: Path) -> Iterator[str]:
    server = subprocess.Popen(
        [sys.executable, "serve.py", "--model", str(model), "--port", "0"],
        env=os.environ | {"KIDNEY_AUTH": "off"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        yield server.stdout.readline().strip().removeprefix("Serving on ")
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    sys.exit(main())
