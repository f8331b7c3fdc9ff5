import base64
import dataclasses
import io

import numpy as np
import onnxruntime
import pytest
from PIL import Image
from scipy.stats import gmean

from kidney.artifact.card import window_contract
from kidney.artifact.predictor import Predictor
from kidney.files import sha256
from kidney.imaging.decoding import Decoders
from kidney.imaging.dicom import read_dicom
from kidney.imaging.windows import WINDOWS, to_grey
from kidney.serving.app import create_app
from kidney.serving.settings import Settings
from tests.helpers.pictures import blank_png, encode, gradient
from tests.helpers.tiny_model import CARD, CLASSES, write_tiny_model
from tests.helpers.upload_files import packed, report, series

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
    assert prediction["set"] == [name for name in CLASSES if values[name] >= rules.set_from[name]]
    assert prediction["suspected"] == ["cyst", "tumor", "stone"]
    assert len(prediction["set"]) == 3


def test_an_ood_score_is_passed_on(tmp_path):
    path = write_tiny_model(tmp_path / "kidney.onnx", ood_score=True)
    client = create_app(Settings(model=path, auth=False)).test_client()
    answer = client.post(API, data={"file": (io.BytesIO(encode(WHITE)), "x.png")}).get_json()
    assert answer["predictions"][0]["ood_score"] == 1.0
    assert answer["predictions"][0]["decision"] == "tumor"  # no threshold, no refusal


@pytest.mark.parametrize(
    ("suspect_from", "decision"), [(0.1, "needs_review"), (2.0, "not_a_kidney_ct")]
)
def test_a_slice_that_is_too_unfamiliar_is_no_kidney_ct_unless_suspected(
    tmp_path, suspect_from, decision
):
    points = dict.fromkeys(CARD.rules.suspect_from, suspect_from)
    rules = dataclasses.replace(CARD.rules, ood_above=0.9, suspect_from=points)
    card = dataclasses.replace(CARD, rules=rules)
    path = write_tiny_model(tmp_path / "kidney.onnx", card=card, ood_score=True)
    client = create_app(Settings(model=path, auth=False)).test_client()
    files = [(io.BytesIO(encode(picture)), "x.png") for picture in (WHITE, gradient() // 2)]
    white, grey = client.post(API, data={"file": files}).get_json()["predictions"]
    assert (white["decision"], white["label"]) == (decision, "tumor")
    assert white["ood_score"] > 0.9
    assert (grey["decision"], grey["ood_score"] < 0.9) == ("needs_review", True)


def test_the_evidence_of_each_class_is_summed_up(send, model):
    (prediction,) = send(encode(gradient())).get_json()["predictions"]
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    evidence, logits = session.run(["evidence", "logits"], {"slices": gradient()[None, None]})
    assert list(prediction["evidence"]) == list(CLASSES)
    for place, name in enumerate(CLASSES):
        said, one = prediction["evidence"][name], evidence[0, place]
        assert said["mean"] + CARD.bias[place] == pytest.approx(logits[0, place], abs=1e-4)
        assert said["strongest"] == pytest.approx(one.max(), abs=1e-4)
        if one.max() <= 0:
            assert (said["peak"], said["share"]) == (None, 0)
            continue
        row, column = np.unravel_index(one.argmax(), one.shape)
        assert said["peak"] == [(row + 0.5) * 48 / 8, (column + 0.5) * 64 / 8]
        assert 0 < said["share"] <= 1
    assert prediction["evidence"]["tumor"]["peak"] == [45, 60]  # the bright corner
    assert prediction["evidence"]["normal"]["peak"] is None


def test_maps_of_evidence_come_on_request(send, model):
    plain, asked = (
        send(encode(gradient()), to=API + query).get_json()["predictions"][0]
        for query in ("", "?evidence=maps")
    )
    assert "evidence_maps" not in plain
    maps = asked["evidence_maps"]
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (evidence,) = session.run(["evidence"], {"slices": gradient()[None, None]})
    np.testing.assert_allclose(list(maps["maps"].values()), evidence[0], atol=1e-4)
    assert list(maps["maps"]) == list(CLASSES)
    assert maps["strongest"] == pytest.approx(evidence.max(), abs=1e-4)
    assert maps["region"] == [0, 0, 48, 64]


def test_pictures_are_one_series(send):
    body = send(encode(WHITE), encode(gradient()), encode(WHITE)).get_json()
    (one,) = body["series"]
    assert (one["kind"], one["slices"], one["window"]) == ("pictures", [0, 1, 2], None)
    assert [one["series"] for one in body["predictions"]] == [0, 0, 0]
    assert [(one["file"], one["frame"]) for one in body["predictions"]] == [(1, 1), (2, 1), (3, 1)]
    mean = gmean([list(one["probabilities"].values()) for one in body["predictions"]], axis=0)
    np.testing.assert_allclose(list(one["probabilities"].values()), mean / mean.sum(), rtol=1e-5)
    assert (one["label"], one["decision"]) == ("tumor", "tumor")
    assert one["decisive"][:2] == [0, 2]
    assert one["counts"]["tumor"] == 2
    assert one["counts"]["needs_review"] == 1
    assert one["skipped"] == []


def test_a_dicom_series_stands_beside_the_pictures(send, model):
    archive = packed(*series()[2::-1], report(series()[0]))
    body = send(archive, encode(WHITE)).get_json()
    dicom, pictures = body["series"]
    assert (dicom["slices"], pictures["slices"]) == ([0, 1, 2], [3])
    assert (dicom["kind"], dicom["plane"], dicom["window"]) == ("dicom", "axial", [40, 400])
    assert dicom["skipped"] == [
        {"file": 1, "reason": "number 4 in file 1: a DICOM file without a picture"}
    ]
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    for data, one in zip(series()[:3], body["predictions"][:3], strict=True):
        grey = to_grey(read_dicom(data, "it").hu)
        (expected,) = session.run(["probabilities"], {"slices": grey[:, None]})
        np.testing.assert_allclose(list(one["probabilities"].values()), expected[0], atol=1e-6)
        assert (one["series"], one["file"], one["size"]) == (0, 1, [96, 96])
    assert set(dicom["decisive"]) <= {0, 1, 2}


def test_hounsfield_units_come_without_loss_on_request(send):
    slice_, picture = series()[0], encode(WHITE)
    predictions = send(slice_, picture, to=API + "?pixels=png").get_json()["predictions"]
    assert "hounsfield" not in predictions[1]  # of the picture, which its sender has
    kind, data = predictions[0]["hounsfield"].split(",")
    assert kind == "data:image/png;base64"
    red, green, blue = np.array(Image.open(io.BytesIO(base64.b64decode(data)))).T.astype(int)
    np.testing.assert_array_equal((256 * red + green - 1024).T, read_dicom(slice_, "it").hu[0])
    assert not blue.any()
    assert "hounsfield" not in send(slice_).get_json()["predictions"][0]


def test_the_model_sees_dicom_through_the_window_of_its_card(tmp_path):
    card = dataclasses.replace(CARD, window=window_contract("bone"))
    path = write_tiny_model(tmp_path / "kidney.onnx", card=card)
    client = create_app(Settings(model=path, auth=False)).test_client()
    files = {"file": (io.BytesIO(series()[0]), "x")}
    body = client.post(API + "?overlay=png", data=files).get_json()
    assert body["series"][0]["window"] == [480, 2500]
    grey = to_grey(read_dicom(series()[0], "it").hu[0], WINDOWS["bone"])
    expected = Predictor(path).predict([grey])[0].probabilities
    said = list(body["predictions"][0]["probabilities"].values())
    np.testing.assert_allclose(said, expected, atol=1e-6)


def test_a_request_keeps_the_model_and_window_it_began_with(tmp_path, monkeypatch):
    path = write_tiny_model(tmp_path / "kidney.onnx")
    app = create_app(Settings(model=path, threads=1, auth=False))
    read = Decoders.decode

    def swapped_meanwhile(*arguments):
        monkeypatch.setattr(Decoders, "decode", read)
        write_tiny_model(path, card=dataclasses.replace(CARD, window=window_contract("bone")))
        assert app.extensions["kidney.engine"].swap()
        return read(*arguments)

    before = sha256(path)
    monkeypatch.setattr(Decoders, "decode", swapped_meanwhile)
    bodies = [
        app.test_client().post(API, data={"file": (io.BytesIO(series()[0]), "x")}).get_json()
        for _ in range(2)
    ]
    assert [body["model"]["sha256"] for body in bodies] == [before, sha256(path)]
    assert [body["series"][0]["window"] for body in bodies] == [[40, 400], [480, 2500]]


def test_an_unknown_parameter_is_refused(send):
    body = problem(send(encode(WHITE), to=API + "?overlays=secret"), 400)
    assert "documented parameters only" in body["detail"]


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
