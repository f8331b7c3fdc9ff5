"""Feedback over HTTP: off by default, keyed, rate-limited, kept without pixels or names."""

import json
from io import BytesIO
from pathlib import Path

import pytest

from kidney.feedback.store import FeedbackStore
from kidney.serving.app import create_app
from kidney.serving.guards.keys import entry
from kidney.serving.settings import Settings
from tests.helpers.pictures import encode, gradient

KEY = {"X-API-Key": "a-key-for-tests-0123456789"}
PNG = encode(gradient(48, 64))


@pytest.fixture
def keyed(model: Path, tmp_path: Path):
    settings = Settings(
        model=model,
        threads=1,
        api_keys=(entry("anna", KEY["X-API-Key"]),),
        feedback_file=tmp_path / "feedback.sqlite",
        history_days=7,
    )
    return create_app(settings).test_client()


def predict(client, count: int = 2) -> dict:
    files = [(BytesIO(PNG), f"secret-{at}.png") for at in range(count)]
    return client.post("/api/v1/predictions", data={"file": files}, headers=KEY).get_json()


def test_off_by_default(client, send):
    assert "result" not in send(PNG).get_json()
    assert client.post("/api/v1/feedback", json={}).status_code == 404
    assert client.get("/history").status_code == 404
    assert "Your reading" not in client.get("/").text


def test_feedback_is_kept_by_id_and_without_names_or_pixels(keyed, tmp_path):
    answer = predict(keyed)
    label = answer["series"][0]["label"]
    other = next(name for name in ("tumor", "stone") if name != label)
    told = {"result": answer["result"], "verdict": "disagree", "label": other, "slices": [2]}
    noted = keyed.post("/api/v1/feedback", json=told, headers=KEY)
    assert noted.get_json() == {"result": answer["result"], "label": other, "slices": [2]}
    store = FeedbackStore(tmp_path / "feedback.sqlite")
    (kept,) = store.feedback()
    assert (kept.reader, kept.agree, kept.label, kept.slices) == ("anna", False, other, (2,))
    assert len(store.digests(kept.id, 0)) == 2
    content = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"secret" not in content
    assert gradient(48, 64).tobytes()[:64] not in content


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"result": "0" * 32}, 404),
        ({"series": 1}, 404),
        ({"series": 10**30}, 404),
        ({"label": "kidney"}, 400),
        ({"verdict": "agree", "label": "stone"}, 400),
        ({"verdict": "disagree", "label": None}, 400),
        ({"slices": [3]}, 400),
        ({"slices": [0]}, 400),
        ({"patient": "Doe"}, 400),
        ({"verdict": "maybe"}, 400),
    ],
)
def test_what_cannot_be_meant_is_a_problem(keyed, change, status):
    told = {"result": predict(keyed)["result"], "verdict": "disagree", "label": "stone"} | change
    answer = keyed.post("/api/v1/feedback", json=told, headers=KEY)
    assert answer.status_code == status
    assert answer.content_type == "application/problem+json"
    assert "Doe" not in answer.text
    assert "maybe" not in answer.text


@pytest.mark.parametrize("body", [b"", b"no JSON", b"[]", b'"text"'])
def test_no_json_is_a_problem(keyed, body):
    sent = {"data": body, "content_type": "application/json", "headers": KEY}
    answer = keyed.post("/api/v1/feedback", **sent)
    assert (answer.status_code, answer.content_type) == (400, "application/problem+json")


def test_a_key_is_needed_and_its_feedback_limited(keyed):
    told = {"result": predict(keyed)["result"], "verdict": "agree"}
    assert keyed.post("/api/v1/feedback", json=told).status_code == 401
    statuses = [
        keyed.post("/api/v1/feedback", json=told, headers=KEY).status_code for _ in range(80)
    ]
    assert (statuses[0], statuses[-1]) == (200, 429)


def test_a_long_body_is_refused(keyed):
    sent = {"data": json.dumps({"result": "x" * 100_000}), "content_type": "application/json"}
    assert keyed.post("/api/v1/feedback", **sent, headers=KEY).status_code == 413


def test_a_prediction_does_not_fail_by_a_broken_file(keyed, tmp_path):
    for file in tmp_path.iterdir():
        file.unlink()
    (tmp_path / "feedback.sqlite").mkdir()
    answer = predict(keyed)
    assert answer["predictions"]
    assert "result" not in answer


def test_the_history_lists_own_results(keyed, model, tmp_path):
    answer = predict(keyed)
    page = keyed.get("/history", headers=KEY).text
    assert answer["result"][:12] in page
    assert keyed.get("/history").status_code == 303  # to sign in
    settings = Settings(
        model=model,
        threads=1,
        api_keys=(entry("bert", KEY["X-API-Key"]),),
        feedback_file=tmp_path / "feedback.sqlite",
        history_days=7,
    )
    other = create_app(settings).test_client().get("/history", headers=KEY).text
    assert "None yet" in other
