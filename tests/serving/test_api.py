import base64
import dataclasses
import io
import logging

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from kidney.files import sha256
from kidney.predictor import Predictor
from kidney.serving.app import create_app
from kidney.serving.settings import Settings
from tests.pictures import blank_png, encode, gradient
from tests.tiny_model import CARD, CLASSES, write_tiny_model

API = "/api/v1/predictions"
WHITE = np.full((40, 50), 255, dtype=np.uint8)


def problem(response, status: int) -> dict:
    """Check that the response is a whole problem document of this status, and return it."""
    assert response.status_code == status
    assert response.content_type == "application/problem+json"
    body = response.get_json(force=True)
    members = {"type", "title", "status", "detail", "remedy", "instance", "request_id"}
    assert members <= body.keys()
    assert all(body[member] for member in members)
    assert body["status"] == status
    assert body["request_id"] == response.headers["X-Request-ID"]
    assert body["request_id"] in body["instance"]
    assert "secret" not in response.text
    return body


def test_one_slice_one_prediction(send, model):
    response = send(encode(WHITE))
    assert response.status_code == 200
    body = response.get_json()
    assert body["model"] == {
        "run": CARD.run,
        "code": CARD.code,
        "created": CARD.created,
        "precision": "float32",
        "sha256": sha256(model),
    }
    assert body["notice"] == "Research use only; not a diagnosis."
    (prediction,) = body["predictions"]
    assert prediction["decision"] == prediction["label"] == "tumor"
    assert list(prediction["probabilities"]) == list(CLASSES)
    assert sum(prediction["probabilities"].values()) == pytest.approx(1, abs=1e-6)
    assert prediction["ood_score"] is None
    assert prediction["set"] == prediction["suspected"] == ["tumor"]
    assert prediction["size"] == [40, 50]
    assert "overlay" not in prediction


def test_http_says_what_onnxruntime_says(send, model):
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    pictures = [gradient(), gradient()[::-1].copy(), WHITE, gradient(100, 70)]
    predictions = send(*map(encode, pictures)).get_json()["predictions"]
    for picture, prediction in zip(pictures, predictions, strict=True):
        (expected,) = session.run(["probabilities"], {"slices": picture[None, None]})
        got = list(prediction["probabilities"].values())
        np.testing.assert_allclose(got, expected[0], atol=1e-6)
        assert prediction["size"] == list(picture.shape)


def test_an_unsure_slice_needs_review(send):
    (prediction,) = send(encode(gradient())).get_json()["predictions"]
    assert prediction["decision"] == "needs_review"
    assert prediction["label"] == max(
        prediction["probabilities"], key=prediction["probabilities"].get
    )
    assert max(prediction["probabilities"].values()) < CARD.rules.review_below


def test_what_remains_possible_and_what_cannot_be_excluded_is_said(send):
    (prediction,) = send(encode(np.full((40, 50), 128, dtype=np.uint8))).get_json()["predictions"]
    values = prediction["probabilities"]
    rules = CARD.rules
    assert prediction["set"] == [name for name in CLASSES if values[name] >= rules.set_from]
    assert prediction["suspected"] == ["cyst", "tumor", "stone"]
    assert len(prediction["set"]) == 3


def test_an_ood_score_is_passed_on(tmp_path):
    path = write_tiny_model(tmp_path / "kidney.onnx", ood_score=True)
    client = create_app(Settings(model=path, auth=False)).test_client()
    answer = client.post(API, data={"file": (io.BytesIO(encode(WHITE)), "x.png")}).get_json()
    assert answer["predictions"][0]["ood_score"] == 1.0
    assert answer["predictions"][0]["decision"] == "tumor"  # no threshold, no refusal


def test_a_slice_that_is_too_unfamiliar_is_no_kidney_ct(tmp_path):
    card = dataclasses.replace(CARD, rules=dataclasses.replace(CARD.rules, ood_above=0.9))
    path = write_tiny_model(tmp_path / "kidney.onnx", card=card, ood_score=True)
    client = create_app(Settings(model=path, auth=False)).test_client()
    files = [(io.BytesIO(encode(picture)), "x.png") for picture in (WHITE, gradient() // 2)]
    white, grey = client.post(API, data={"file": files}).get_json()["predictions"]
    assert (white["decision"], white["label"]) == ("not_a_kidney_ct", "tumor")
    assert white["ood_score"] > 0.9
    assert (grey["decision"], grey["ood_score"] < 0.9) == ("needs_review", True)


def test_an_overlay_comes_on_request(send):
    (prediction,) = send(encode(WHITE), to=API + "?overlay=png").get_json()["predictions"]
    kind, data = prediction["overlay"].split(",")
    assert kind == "data:image/png;base64"
    overlay = Image.open(io.BytesIO(base64.b64decode(data)))
    assert (overlay.size, overlay.mode) == ((50, 40), "RGB")
    assert len(set(overlay.getpixel((25, 20)))) > 1  # white speaks for tumor: it is coloured


def test_the_overlay_of_a_large_slice_is_bounded(send):
    large = encode(np.full((2048, 1024), 255, np.uint8))
    (prediction,) = send(large, to=API + "?overlay=png").get_json()["predictions"]
    overlay = Image.open(io.BytesIO(base64.b64decode(prediction["overlay"].split(",")[1])))
    assert overlay.size == (512, 1024)
    assert prediction["size"] == [2048, 1024]


def test_another_overlay_is_refused(send):
    assert "png" in problem(send(encode(WHITE), to=API + "?overlay=gif"), 400)["detail"]


@pytest.mark.parametrize(
    ("picture", "kind"),
    [
        (WHITE.astype(np.uint16) * 257, "PNG"),
        (np.dstack([WHITE] * 4), "PNG"),
        (np.dstack([WHITE] * 3), "JPEG"),
        (WHITE, "JPEG"),
    ],
    ids=["16 bits", "RGBA", "colour", "grey"],
)
def test_every_usual_picture_is_read(send, picture, kind):
    (prediction,) = send(encode(picture, kind)).get_json()["predictions"]
    assert prediction["label"] == "tumor"
    assert prediction["probabilities"]["tumor"] == pytest.approx(0.786, abs=0.01)


def test_the_exif_orientation_is_applied(send):
    exif = Image.Exif()
    exif[0x0112] = 6
    (prediction,) = send(encode(WHITE, "JPEG", exif=exif)).get_json()["predictions"]
    assert prediction["size"] == [50, 40]


def test_a_text_is_no_picture_whatever_its_name(send):
    body = problem(send(b"hello, I am a text"), 415)
    assert "file 1 " in body["detail"]
    assert body["type"] == "urn:kidney:problem:image-type"


def test_a_truncated_jpeg_is_refused(send):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    whole = encode(noise, "JPEG")
    assert "File 1 begins like a JPEG" in problem(send(whole[: len(whole) // 2]), 422)["detail"]


def test_an_enormous_png_is_refused_before_decoding(send):
    bomb = blank_png(20_000)
    assert len(bomb) < 100_000
    assert "16,000,000 pixels" in problem(send(bomb), 413)["detail"]


def test_a_tiny_picture_is_refused(send):
    assert "32 pixels a side" in problem(send(encode(gradient(8, 8))), 413)["detail"]


def test_an_empty_file_is_refused(send):
    assert "File 1 is empty" in problem(send(b""), 422)["detail"]


def test_the_broken_file_is_named_by_its_position(send):
    assert "file 3 " in problem(send(encode(WHITE), encode(WHITE), b"hello"), 415)["detail"]


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"data": b"\x89PNG", "content_type": "image/png"},
        {"data": {"file": "a text field"}},
        {"data": {"picture": (io.BytesIO(encode(WHITE)), "x.png")}},
        {"data": {"file": (io.BytesIO(b""), "")}},
        {"data": b"nonsense", "content_type": "multipart/form-data; boundary=x"},
        {"data": b"nonsense", "content_type": "multipart/form-data"},
    ],
    ids=["nothing", "bare body", "text field", "other field", "left empty", "garbled", "unbounded"],
)
def test_a_request_without_a_file_is_refused(client, request_):
    assert "curl" in problem(client.post(API, **request_), 400)["remedy"]


def test_files_are_counted(send):
    assert send(*[encode(WHITE)] * 4).status_code == 200
    assert "at most 4 files" in problem(send(*[encode(WHITE)] * 5), 413)["detail"]
    assert "at most 4 files" in problem(send(*[encode(WHITE)] * 100), 413)["detail"]


def test_a_request_is_measured(send):
    assert "MiB" in problem(send(bytes(1_000_001)), 413)["detail"]


def test_pixels_of_all_files_together_are_limited(model):
    settings = Settings(model=model, auth=False, max_request_pixels=8000)
    client = create_app(settings).test_client()

    def send(count: int):
        files = [(io.BytesIO(encode(WHITE)), f"secret-{i}.png") for i in range(count)]
        return client.post(API, data={"file": files})

    assert send(4).status_code == 200
    assert "together may have 8,000 pixels" in problem(send(5), 413)["detail"]


def test_uploads_never_touch_a_disk(send, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a temporary file was opened")

    monkeypatch.setattr("werkzeug.formparser.SpooledTemporaryFile", refuse)
    noise = np.random.default_rng(0).integers(0, 256, (800, 900), dtype=np.uint8)
    assert send(encode(noise)).status_code == 200


def test_the_card_is_public(client):
    body = client.get("/api/v1/model").get_json()
    assert body["classes"] == list(CLASSES)
    assert body["rules"] == dataclasses.asdict(CARD.rules)
    assert body["limits"] == CARD.limits


def test_unknown_addresses_and_methods_are_problems(client):
    problem(client.get("/api/v1/nothing", headers={"Accept": "text/html"}), 404)
    refused = client.get(API)
    problem(refused, 405)
    assert "POST" in refused.headers["Allow"]


def test_a_failure_says_nothing_of_its_inside(send, monkeypatch):
    def fail(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(Predictor, "predict", fail)
    assert "request id" in problem(send(encode(WHITE)), 500)["remedy"]


def test_every_answer_is_confined(client, send):
    for response in (send(encode(WHITE)), send(b""), client.get("/api/v1/model")):
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert response.headers["Cache-Control"] == "no-store"
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy


def test_a_sane_request_id_is_kept_and_another_replaced(client):
    def echoed(sent: str) -> str:
        return client.get("/healthz", headers={"X-Request-ID": sent}).headers["X-Request-ID"]

    assert echoed("trace-42.a_B") == "trace-42.a_B"
    for strange in ("", "a b", "<script>", "x" * 65):
        assert echoed(strange) != strange
        assert len(echoed(strange)) == 32


def test_the_log_names_the_request_and_no_file(send, client, caplog):
    with caplog.at_level(logging.INFO):
        send(encode(WHITE), headers={"X-Request-ID": "trace-1"})
        send(b"broken", headers={"X-Request-ID": "trace-2"})
        client.get("/api/v1/secret-patient.jpg", headers={"X-Request-ID": "trace-3"})
    lines = [record.getMessage() for record in caplog.records]
    assert any(line.startswith(f"trace-1 POST {API} 200 ") for line in lines)
    assert any(line.startswith(f"trace-2 POST {API} 415 ") for line in lines)
    assert any(line.startswith("trace-3 GET (unknown path) 404 ") for line in lines)
    assert not any("secret" in line for line in lines)
