import dataclasses
import re
from io import BytesIO
from pathlib import Path
from urllib.parse import urljoin

import numpy as np
import pytest

import kidney.serving
from kidney.artifact.decision import ACCEPT_NOTHING
from kidney.artifact.predictor import Predictor
from kidney.files import sha256
from kidney.serving.app import create_app
from kidney.serving.settings import Settings
from kidney.serving.web import percent
from tests.helpers.dicom_files import phantom_series
from tests.helpers.pictures import blank_png, encode, gradient
from tests.helpers.tiny_model import CARD, write_tiny_model

WHITE = encode(np.full((40, 50), 255, dtype=np.uint8))
BLACK = encode(np.zeros((40, 50), dtype=np.uint8))


STATIC = Path(kidney.serving.__file__).parent / "static"


def words(response) -> str:
    """What a reader reads: the page without tags, white space folded."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", response.text))


def test_the_page_offers_an_upload(client):
    page = client.get("/")
    assert page.status_code == 200
    assert re.search(r'<input[^>]*name="file"', page.text)
    assert '<label for="file">' in page.text
    assert "Research use, not a diagnosis" in words(page)


def test_a_sure_result_comes_first_in_plain_words(send):
    page = send(BLACK, to="/")
    assert page.status_code == 200
    text = words(page)
    assert "Most probably normal" in text
    assert text.index("Most probably normal") < text.index("Probability of each class")
    assert text.count("Research use, not a diagnosis") == 2  # in the header and below the result
    assert "radiologist has to look" not in text


def test_an_unsure_result_asks_for_a_radiologist(send):
    text = words(send(encode(gradient()), to="/"))
    assert "Not sure: a radiologist has to look" in text
    assert "Below 70 %" in text
    assert "Most probably" not in text


def served(tmp_path, **rules) -> str:
    """What the page says of a white slice, by a model with other rules."""
    card = dataclasses.replace(CARD, rules=dataclasses.replace(CARD.rules, **rules))
    path = write_tiny_model(tmp_path / "kidney.onnx", card=card, ood_score=True)
    client = create_app(Settings(model=path, auth=False)).test_client()
    return words(client.post("/", data={"file": (BytesIO(WHITE), "x.png")}))


def test_a_model_that_lets_no_answer_stand_says_so(tmp_path):
    text = served(tmp_path, review_below=ACCEPT_NOTHING)
    assert "Not sure: a radiologist has to look" in text
    assert "lets none of its answers stand" in text
    assert "200" not in text
    assert "The line marks" not in text


def test_what_is_no_kidney_ct_is_told_in_plain_words(tmp_path):
    text = served(tmp_path, ood_above=0.9, suspect_from={"cyst": 2.0, "tumor": 2.0, "stone": 2.0})
    assert "This does not look like a kidney CT slice" in text
    assert "its answer says nothing" in text
    for misleading in ("Most probably", "Cannot be excluded", "Not suspected", "remains likely"):
        assert misleading not in text


def test_findings_are_named_that_cannot_be_excluded(send):
    text = words(send(encode(np.full((40, 50), 128, dtype=np.uint8)), to="/"))
    assert "Cannot be excluded on this slice: cyst, tumour (kidney mass), kidney stone." in text
    assert "Not suspected" not in text
    assert "cannot tell apart here: cyst, tumour (kidney mass), kidney stone." in text


def test_a_finding_that_is_not_suspected_is_not_called_absent(send):
    text = words(send(BLACK, to="/"))
    assert "Not suspected: cyst, tumour (kidney mass), kidney stone. That is no proof" in text
    assert "Cannot be excluded" not in text
    assert "No other class than normal" in text


def test_the_numbers_are_sorted_and_drawn(send):
    page = send(WHITE, to="/").text
    order = re.findall(r'<th scope="row">(.*?)</th>', page)
    widths = [float(width) for width in re.findall(r'class="value" y="2" width="([\d.]+)"', page)]
    assert order[0] == "Tumour (kidney mass)"
    assert len(order) == len(widths) == 4
    assert widths == sorted(widths, reverse=True)
    assert sum(widths) == pytest.approx(100, abs=0.1)


def test_slice_and_overlay_lie_in_the_page(send):
    page = send(WHITE, to="/").text
    assert page.count('src="data:image/png;base64,') == 2
    assert "Evidence for tumour (kidney mass)" in page


def test_a_result_without_evidence_says_so(send):
    assert "No place in this slice speaks for normal" in words(send(BLACK, to="/"))


def test_nothing_is_inline_and_nothing_foreign_is_asked_for(client, send):
    for page in (client.get("/"), send(WHITE, to="/"), send(b"", to="/")):
        assert not re.search(r"<script(?! type=.module. src=)|<style|\sstyle=|\son\w+=", page.text)
        addresses = re.findall(r'(?:src|href|action)="([^"]*)"', page.text)
        assert addresses
        for address in addresses:
            assert address.startswith(("/", "data:image/png;", "#"))
            assert not address.startswith("//")
        for address in addresses:
            if address.startswith("/static/"):
                assert client.get(address).status_code == 200


@pytest.mark.parametrize(
    ("content", "status", "title"),
    [
        (b"hello", 415, "Not a file that is read here"),
        (WHITE[: len(WHITE) // 2], 422, "The file cannot be read"),
        (b"", 422, "The file cannot be read"),
        (blank_png(20_000), 413, "Too many or too few pixels"),
        (bytes(1_000_001), 413, "The upload is too large"),
    ],
    ids=["text", "truncated", "empty", "enormous", "long"],
)
def test_a_broken_upload_gets_a_page_with_the_words_of_the_api(send, content, status, title):
    page = send(content, to="/")
    assert page.status_code == status
    assert page.content_type.startswith("text/html")
    answer = send(content).get_json(force=True)
    assert title in words(page)
    assert answer["title"] == title
    assert "What to do:" in words(page)
    assert 'type="file"' in page.text  # the reader can try again at once
    assert "secret" not in page.text


def test_no_file_and_too_many_files_are_refused(client, send):
    assert client.post("/", data={}).status_code == 400
    assert "at most 4 files " in words(send(*[WHITE] * 5, to="/"))


def test_several_pictures_are_one_series(send):
    page = send(BLACK, WHITE, WHITE, to="/")
    text = words(page)
    assert "Most probably tumour (kidney mass)" in text
    assert "Cannot be excluded on these 3 slices: tumour (kidney mass) (2 of 3 slices)." in text
    assert "Not suspected: cyst, kidney stone." in text
    assert "a radiologist reads the study" in text
    assert re.findall(r"(Slice \d of 3): where", text) == ["Slice 2 of 3", "Slice 3 of 3"]
    assert page.text.count('src="data:image/png;base64,') == 4
    assert re.search(r"Slice 1 of 3 normal( kidney)?, \d\d % none", text)


def test_each_dicom_series_is_a_result(client, tmp_path):
    _, paths = phantom_series(tmp_path)
    files = [(BytesIO(path.read_bytes()), path.name) for path in paths[:3]]
    text = words(client.post("/", data={"file": [*files, (BytesIO(BLACK), "b.png")]}))
    assert "Result 1 of 2" in text
    assert "these 3 slices" in text


def test_where_a_result_comes_from_is_told(send, model):
    page = send(WHITE, to="/")
    text = words(page)
    for told in (sha256(model), "tiny-run", page.headers["X-Request-ID"], "UTC"):
        assert told in text


def test_every_sentence_waits_in_the_page_for_the_script(client, send):
    """What is said without a script is said with one: both come out of one template."""
    page = client.get("/").text
    for sentence in ("Most probably", "has to look", "do not look like kidney CT", "missed."):
        assert sentence in page[page.index("<template") :]
    assert 'data-slot="label"' in page
    assert "data-slot" not in send(WHITE, to="/").text


def test_what_makes_it_an_app_is_at_the_root(client):
    manifest = client.get("/manifest.webmanifest")
    assert manifest.mimetype == "application/manifest+json"
    for icon in manifest.get_json(force=True)["icons"]:
        assert client.get(urljoin("/manifest.webmanifest", icon["src"])).status_code == 200
    worker = client.get("/service-worker.js")
    assert worker.mimetype == "text/javascript"


def test_a_proxy_may_put_a_prefix_before_the_server(tmp_path):
    model = write_tiny_model(tmp_path / "kidney.onnx")
    app = create_app(Settings(model=model, threads=1, auth=False, proxies=1))
    page = app.test_client().get("/", headers={"X-Forwarded-Prefix": "/kidney"}).text
    links = re.findall(r'(?:href|src|action|data-address)="(/[^"]*)"', page)
    assert len(links) > 5
    assert all(link.startswith("/kidney/") for link in links), links
    for path in STATIC.rglob("*.js"):  # what they ask for is found from where they lie
        if "vendor" not in path.parts:
            assert not re.search(r"""["'`]/(api|static|login|history)""", path.read_text()), path


def test_no_script_and_no_style_sheet_is_too_long_to_read():
    files = [path for kind in ("js", "css") for path in STATIC.rglob(f"*.{kind}")]
    assert len(files) > 15
    assert [path.name for path in files if len(path.read_text().splitlines()) > 300] == []


def test_people_get_pages_and_programs_problems(client):
    page = client.get("/nothing", headers={"Accept": "text/html,*/*;q=0.8"})
    assert (page.status_code, page.mimetype) == (404, "text/html")
    answer = client.get("/nothing")
    assert (answer.status_code, answer.mimetype) == (404, "application/problem+json")
    refused = client.put("/", headers={"Accept": "text/html"})
    assert (refused.status_code, refused.mimetype) == (405, "text/html")


def test_a_failure_gets_a_page_too(send, monkeypatch):
    def fail(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(Predictor, "predict", fail)
    page = send(WHITE, to="/")
    assert (page.status_code, page.mimetype) == (500, "text/html")
    assert "secret" not in page.text
    assert page.headers["X-Request-ID"] in page.text


def test_what_the_card_says_is_escaped(tmp_path):
    card = dataclasses.replace(CARD, limits="<b>none</b>")
    path = write_tiny_model(tmp_path / "kidney.onnx", card=card)
    page = create_app(Settings(model=path, auth=False)).test_client().get("/").text
    assert "&lt;b&gt;none" in page


@pytest.mark.parametrize(
    ("probability", "text"),
    [(0.0, "under 1 %"), (0.01, "1 %"), (0.425, "42 %"), (0.99, "99 %"), (1.0, "over 99 %")],
)
def test_percent_never_claims_certainty(probability, text):
    assert percent(probability) == text
