"""The page as people use it, in Chromium, against the server that serve.py starts.

One file: a process that runs it starts one server and one browser.
"""

import dataclasses
import io
import re
import zipfile

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe

from kidney.artifact.decision import ACCEPT_NOTHING
from kidney.artifact.overlay import evidence_overlay
from kidney.imaging.windows import WINDOWS, Window, to_grey
from kidney.serving.app import create_app
from kidney.serving.schemas import Response
from kidney.serving.settings import Settings
from kidney.serving.web import series_words, slice_words
from tests.browser.conftest import FOREIGN_FROM, KEY, LEVELS, SUSPICIOUS, at_slice, pixels, read
from tests.helpers.pictures import encode, gradient
from tests.helpers.tiny_model import CARD, write_tiny_model

GREY = gradient(48, 64)
JPEG = {"name": "secret.jpg", "mimeType": "image/jpeg", "buffer": encode(GREY, "JPEG", quality=95)}
PNG = {"name": "secret.png", "mimeType": "image/png", "buffer": encode(GREY)}
BLACK = {"name": "b.png", "mimeType": "image/png", "buffer": encode(GREY * 0)}
WHITE = {"name": "w.png", "mimeType": "image/png", "buffer": encode(GREY * 0 + 255)}
TEXT = {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no slice"}
PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}


def words(page, selector="body") -> str:
    return re.sub(r"\s+", " ", page.inner_text(selector))


def maps_of(page, address, *files) -> list[dict]:
    """What the API answers for files, asked beside the page."""
    form = [("file", file) for file in files]
    answer = page.request.post(f"{address}/api/v1/predictions?evidence=maps", multipart=dict(form))
    return answer.json()["predictions"]


def test_a_jpeg_is_read_and_words_come_first(visit):
    page = read(visit(), JPEG)
    assert page.evaluate("document.activeElement.id") == "series-headline"
    text = words(page, "#result")
    assert text.index("Not sure: a radiologist has to look") < text.index("Probability of each")
    assert "Research use, not a diagnosis. One slice is not a study" in text
    assert not page.is_visible("#strip")
    assert not page.is_visible("#windows")
    assert np.abs(pixels(page, "original")[..., 0].astype(int) - GREY).max() <= 4  # of JPEG


def test_the_overlay_is_the_one_that_the_server_paints(visit, address):
    page = read(visit(), PNG)
    (prediction,) = maps_of(page, address, PNG)
    maps = prediction["evidence_maps"]
    for name in ("normal", "tumor"):
        page.check(f"#class-choices input[value={name}]", force=True)
        painted = evidence_overlay(
            GREY, np.array(maps["maps"][name]), maps["strongest"], region=maps["region"]
        )
        assert np.abs(pixels(page, "overlay").astype(int) - painted).max() <= 2
    assert (painted != GREY[..., None]).any()


def test_the_slider_fades_the_overlay_and_a_key_hides_it(visit):
    page = read(visit(), PNG)
    full = pixels(page, "overlay").astype(int)
    away = np.abs(full - GREY[..., None]).sum()
    page.locator("#opacity").fill("35")
    assert "35 %" in words(page, ".tools")
    assert np.abs(pixels(page, "overlay") - full).sum() > 0
    assert 0.4 < np.abs(pixels(page, "overlay").astype(int) - GREY[..., None]).sum() / away < 0.6
    page.locator("#stage").press("o")
    assert (pixels(page, "overlay") == GREY[..., None]).all()
    page.locator("#stage").press("o")
    page.locator("#opacity").fill("0")
    assert (pixels(page, "overlay") == pixels(page, "original")).all()


def test_a_series_is_scrolled_with_keys_wheel_slider_and_chart(visit, series):
    page = read(visit(), series)
    count = len(LEVELS)
    stage = page.locator("#stage")
    for key, number in [
        ("Home", 1), ("ArrowDown", 2), ("ArrowRight", 3), ("ArrowUp", 2), ("ArrowLeft", 1),
        ("ArrowLeft", 1), ("PageDown", count), ("PageUp", 1), ("End", count),
    ]:  # fmt: skip
        stage.press(key)
        at_slice(page, number)
        assert f"Slice {number} of {count}" in words(page, "#viewer-title")
    stage.hover()
    page.mouse.wheel(0, -30)
    at_slice(page, count - 1)
    page.locator("#slice").fill("2")
    at_slice(page, 2)
    box = page.locator("#chart").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 3.5 / count, box["y"] + 40)
    at_slice(page, 4)


def test_one_jumps_to_the_suspicious_slices(visit, series):
    page = read(visit(), series)
    page.locator("#stage").press("Home")
    at_slice(page, 1)
    for number in (*SUSPICIOUS, SUSPICIOUS[0]):  # and round again
        page.click("#next-suspicious")
        at_slice(page, number)
        assert f"Slice {number} of {len(LEVELS)}" in page.inner_text("#announce")
        assert "Cannot be excluded" in words(page, "#slice-verdict")
    page.locator("#stage").press("Shift+N")
    at_slice(page, SUSPICIOUS[1])
    assert "slices 3, 5" in page.text_content("#strip-summary")
    decisive = page.locator("#decisive button").first
    decisive.click()
    at_slice(page, int(decisive.inner_text()))


def test_a_swipe_turns_the_slices_on_a_phone(visit, series):
    page = read(visit(**PHONE), series)
    page.locator("#stage").press("Home")
    at_slice(page, 1)
    page.evaluate(
        """() => {
          const at = (kind, clientX) => document.querySelector("#stage").dispatchEvent(
            new PointerEvent(kind, { clientX, pointerType: "touch", bubbles: true, buttons: 1 }));
          at("pointerdown", 200);
          at("pointermove", 140);
          at("pointerup", 140);
        }"""
    )
    at_slice(page, 3)


def test_windows_show_the_hounsfield_units_as_the_server_does(visit, series, hounsfield):
    page = read(visit(), series)
    page.locator("#stage").press("Home")
    page.locator("#stage").press("n")
    at_slice(page, 3)
    shown = []
    for name, window in WINDOWS.items():
        page.check(f"#window-choices input[value={name}]", force=True)
        shown.append(pixels(page, "original")[..., 0])
        assert (shown[-1] == to_grey(hounsfield[2], window)).all()
        assert page.input_value("#window-width") == f"{window.width:g}"
    assert len({grey.tobytes() for grey in shown}) == len(WINDOWS)
    page.fill("#window-width", "90")
    page.fill("#window-center", "50")
    own = Window(center=50, width=90)
    assert (pixels(page, "original")[..., 0] == to_grey(hounsfield[2], own)).all()
    assert page.locator("#window-choices input:checked").count() == 0
    page.hover("#original", position={"x": 9, "y": 9})
    assert page.inner_text("#under-pointer") == f"{LEVELS[2]} HU"


def test_a_real_series_is_read(visit, shared):
    page = read(visit(), shared / "data" / "ct-dicom-series.zip")
    page.locator("#stage").press("End")
    at_slice(page, 20)
    assert pixels(page, "original").shape == (512, 512, 3)
    assert len(np.unique(pixels(page, "original"))) > 100


def test_pictures_of_a_zip_are_drawn_from_it(visit, tmp_path):
    with zipfile.ZipFile(tmp_path / "p.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("notes.txt", b"no slice")
        archive.writestr("a.png", encode(GREY * 0))
        archive.writestr("b.png", encode(GREY))
    page = read(visit(), tmp_path / "p.zip")
    page.locator("#stage").press("End")
    at_slice(page, 2)
    assert (pixels(page, "original")[..., 0] == GREY).all()
    assert "Not read: number 1 in file 1" in words(page, "#series-verdict")


@pytest.mark.parametrize("files", [[PNG], [BLACK, PNG, WHITE]], ids=len)
def test_without_a_script_the_words_are_the_same(visit, files):
    page = read(visit(), *files)
    plain = visit(java_script_enabled=False)
    plain.set_input_files("#file", files)
    plain.click("#read")
    said = words(page, "#series-verdict").replace(" Print report Read other slices", "")
    assert words(plain, ".verdict") == said
    assert plain.locator("img[src^='data:']").count() >= 2


def test_a_series_is_read_without_a_script(visit, series):
    page = visit(java_script_enabled=False)
    page.set_input_files("#file", series)
    page.click("#read")
    assert "these 6 slices" in words(page, ".verdict")
    assert page.locator("tbody tr th", has_text="Slice 6 of 6").count() == 1


def test_an_error_is_told_in_words_and_loses_nothing(visit):
    page = visit()
    page.set_input_files("#file", [TEXT])
    page.click("#read")
    page.wait_for_selector("#problem:not([hidden])")
    assert page.evaluate("document.activeElement.id") == "problem"
    for said in (
        "Not a file that is read here",
        "Expected file 1 to be",
        "What to do:",
        "Request ",
    ):
        assert said in words(page, "#problem")
    assert "notes.txt" in words(page, "#chosen")
    page.route("**/predictions*", lambda route: route.abort())
    page.click("#read")
    page.wait_for_selector("text=The server cannot be reached")
    assert "notes.txt" in words(page, "#chosen")
    page.unroute("**/predictions*")
    read(page, PNG)


def test_sending_can_be_stopped(visit):
    page = visit()
    page.route("**/predictions*", lambda _: None)  # never an answer
    page.set_input_files("#file", [PNG])
    page.click("#read")
    page.wait_for_selector("#progress:not([hidden])")
    page.click("#cancel")
    page.wait_for_selector("#progress", state="hidden")
    assert "1 file" in words(page, "#chosen")
    assert page.is_enabled("#read")


def test_going_back_leads_to_the_form_with_its_files(visit):
    page = read(visit(), PNG)
    page.evaluate("location.hash = 'main'")  # as the link that skips the header does
    assert page.is_visible("#result")
    page.go_back()
    assert page.is_visible("#result")
    page.go_back()
    assert not page.is_visible("#result")
    assert "1 file" in words(page, "#chosen")
    page.click("#read")
    page.wait_for_selector("#result:not([hidden])")
    page.click("#again")
    assert page.is_visible("#upload")


def test_files_can_be_dropped(visit):
    page = visit()
    page.evaluate(
        """bytes => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([new Uint8Array(bytes)], "dropped.png"));
          document.querySelector("#drop").dispatchEvent(
            new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
        }""",
        list(PNG["buffer"]),
    )
    page.wait_for_selector("text=dropped.png")
    page.click("#read")
    page.wait_for_selector("#stage[data-shown]")


def pages_of(printed: bytes) -> int:
    return len(re.findall(rb"/Type\s*/Page\b", printed))


@pytest.mark.parametrize("paper", ["A4", "Letter"])
def test_the_report_is_one_page(visit, series, paper):
    page = read(visit(), series)
    assert pages_of(page.pdf(format=paper)) == 1
    report = re.sub(r"\s+", " ", page.text_content("#report"))
    for said in ("Not a diagnosis", "these 6 slices", "tiny-run", "SHA-256", "UTC", "Request"):
        assert said in report
    assert (pixels(page, "original") == pixels(page, "report-original")).all()


def test_a_long_report_is_one_page_and_all_of_it_is_on_it(visit, tmp_path):
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        for number in range(8):
            archive.writestr(f"notes-{number}.txt", b"no slice")
        for number, grey in enumerate((90, 0, 255, 128)):
            square = np.full((256, 256), grey, dtype=np.uint8)
            archive.writestr(f"{number}.png", encode(square))
    page = read(visit(), tmp_path / "p.zip")
    page.emulate_media(media="print")
    assert pages_of(page.pdf(format="Letter")) == 1
    page.set_viewport_size({"width": 710, "height": 950})  # Letter within its margins
    assert page.evaluate(
        """() => {
          const report = document.getElementById("report");
          const end = (part) => report.querySelector(part).getBoundingClientRect().bottom;
          const start = (part) => report.querySelector(part).getBoundingClientRect().top;
          return report.scrollHeight <= report.clientHeight
            && end("figure:last-child figcaption") <= start(".report-columns")
            && end(".report-columns") <= start("footer");
        }"""
    )


def test_nothing_is_wider_than_a_phone(visit, series):
    page = visit(**PHONE)

    def fits() -> bool:
        return page.evaluate("document.documentElement.scrollWidth") <= 360

    assert fits()
    page.set_input_files("#file", [TEXT])
    page.click("#read")
    page.wait_for_selector("#problem:not([hidden])")
    assert fits()
    read(page, series)
    assert fits()
    page.check("#layout input[value=both]", force=True)
    assert fits()


def test_the_keyboard_is_enough(visit, series):
    page = visit()

    def tab_to(selector: str) -> None:
        for _ in range(40):
            page.keyboard.press("Tab")
            outline = page.evaluate(
                """() => {
                  const here = document.activeElement;
                  const shown = here.matches(".segments input, .pills input[type=radio]")
                    ? here.nextElementSibling : here;
                  return getComputedStyle(shown).outlineStyle;
                }"""
            )
            assert outline != "none", page.evaluate("document.activeElement.outerHTML")
            if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                return
        raise AssertionError(f"{selector} is not reached")

    with page.expect_file_chooser() as chooser:
        tab_to("#choose-files")
        page.keyboard.press("Enter")
    chooser.value.set_files(series)
    tab_to("#read")
    page.keyboard.press("Enter")
    page.wait_for_selector("#stage[data-shown]")
    tab_to("#stage")
    page.keyboard.press("Home")
    at_slice(page, 1)
    page.keyboard.press("n")
    at_slice(page, SUSPICIOUS[0])
    tab_to("#class-choices input")
    before = page.inner_text("#overlay-caption")
    page.keyboard.press("ArrowLeft")
    assert page.inner_text("#overlay-caption") != before
    tab_to("#opacity")
    page.keyboard.press("ArrowLeft")
    assert page.inner_text("#opacity-text") == "65 %"


def test_the_worker_keeps_the_shell_and_nothing_else(visit, series):
    page = visit(service_workers="allow")
    page.evaluate("navigator.serviceWorker.ready")
    page.reload()
    read(page, series)
    kept = page.evaluate(
        """async () => (await Promise.all((await caches.keys()).map(async name =>
          (await (await caches.open(name)).keys()).map(request => new URL(request.url).pathname)
        ))).flat()"""
    )
    assert "/static/offline.html" in kept
    assert "/static/js/viewer.js" in kept
    assert [path for path in kept if not path.startswith("/static/")] == []
    page.context.set_offline(True)
    page.reload()
    assert "The server cannot be reached" in words(page)


def test_a_phone_may_install_it(visit):
    page = visit(service_workers="allow")
    page.evaluate("navigator.serviceWorker.ready")
    inspector = page.context.new_cdp_session(page)
    manifest = inspector.send("Page.getAppManifest")
    assert manifest["errors"] == []
    errors = inspector.send("Page.getInstallabilityErrors")["installabilityErrors"]
    assert [one["errorId"] for one in errors if one["errorId"] != "in-incognito"] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(visit, address_with_keys, series, scheme):
    # The policy would refuse the script that axe is.
    options = {"bypass_csp": True, "color_scheme": scheme, "reduced_motion": "reduce"}
    found = {}

    def check(page, state: str) -> None:
        for violation in Axe().run(page).response["violations"]:
            nodes = [node["html"][:200] for node in violation["nodes"]]
            found[f"{state}: {violation['id']}"] = nodes

    page = visit(**options)
    check(page, "upload")
    page.set_input_files("#file", [TEXT])
    page.click("#read")
    page.wait_for_selector("#problem:not([hidden])")
    check(page, "error")
    check(read(page, PNG), "result")
    page.click("#again")
    page.evaluate("delete document.querySelector('#stage').dataset.shown")
    check(read(page, series), "series")
    plain = visit(**options)
    plain.route("**/page.js", lambda route: route.abort())
    plain.reload()
    plain.set_input_files("#file", [BLACK, WHITE])
    plain.click("#read")
    check(plain, "result without a script")
    check(visit("/login", at=address_with_keys, **options), "login")
    assert found == {}


def test_with_a_key_one_signs_in_reads_and_signs_out(visit, address_with_keys):
    page = visit(at=address_with_keys)
    assert page.url.endswith("/login")
    page.fill("#key", "not the key")
    page.click("button[type=submit]")
    assert "not a key of this server" in words(page, "[role=alert]")
    page.fill("#key", KEY)
    page.click("button[type=submit]")
    read(page, PNG)
    page.click("text=Sign out")
    assert page.url.endswith("/login")
    page.goto(address_with_keys)
    assert page.url.endswith("/login")


@pytest.mark.parametrize("options", [{}, {**PHONE, "color_scheme": "dark"}], ids=["wide", "phone"])
def test_a_visitor_without_a_ct_tries_the_sample(visit, address_with_keys, options):
    page = visit("/login", at=address_with_keys, **options)
    page.fill("#key", KEY)
    page.click("button[type=submit]")
    page.click("#sample")
    page.wait_for_selector("#stage[data-shown]")
    assert "of 8" in words(page, "#viewer-title")
    assert page.is_visible("#windows")  # Hounsfield units: the browser read the file too
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_sample_that_does_not_come_is_a_problem_in_words(visit):
    page = visit()
    page.route("**/sample-phantom.zip", lambda route: route.abort())
    page.click("#sample")
    page.wait_for_selector("#problem:not([hidden])")
    assert "cannot be reached" in words(page, "#problem")


def test_script_and_server_find_the_same_words(visit, tmp_path):
    page = visit()
    for review_below in (0, 0.7, ACCEPT_NOTHING):
        rules = dataclasses.replace(CARD.rules, review_below=review_below, ood_above=FOREIGN_FROM)
        card = dataclasses.replace(CARD, rules=rules)
        path = write_tiny_model(tmp_path / "kidney.onnx", card=card, ood_score=True)
        client = create_app(Settings(model=path, auth=False)).test_client()
        for files in ([BLACK], [PNG], [WHITE], [BLACK, PNG, WHITE]):
            sent = [(io.BytesIO(file["buffer"]), file["name"]) for file in files]
            answer = client.post("/api/v1/predictions", data={"file": sent}).get_json()
            told = Response.model_validate(answer)
            series_said, *slices_said = page.evaluate(
                """async ([answer, card]) => {
                  const { sliceWords, seriesWords } = await import("/static/js/words.js");
                  return [seriesWords(answer.series[0], answer.predictions, card),
                    ...answer.predictions.map(prediction => sliceWords(prediction, card))];
                }""",
                [answer, client.get("/api/v1/model").get_json()],
            )
            assert series_said == dict(series_words(told.series[0], told.predictions, card))
            assert slices_said == [dict(slice_words(one, card)) for one in told.predictions]
