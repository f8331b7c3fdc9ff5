import io

import numpy as np
import pytest

from kidney.errors import ConfigError
from kidney.serving.app import create_app
from kidney.serving.guards.keys import entry, new_key
from kidney.serving.settings import Settings, from_environment
from tests.helpers.pictures import encode

KEY = new_key()
VIEWER = "https://viewer.example.org"
API = "/api/v1/predictions"
SLICE = encode(np.full((40, 50), 255, np.uint8))
ASK = {
    "Origin": VIEWER,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization",
}


def client_of(model, **settings):
    keys = (entry("viewer", KEY),)
    return create_app(Settings(model=model, threads=1, api_keys=keys, **settings)).test_client()


def allowed(answer) -> dict[str, str]:
    return {name: value for name, value in answer.headers if name.startswith("Access-Control-")}


def test_no_other_page_may_read_answers_unless_it_is_listed(model):
    client = client_of(model)
    assert allowed(client.options(API, headers=ASK)) == {}
    headers = {"Origin": VIEWER, "X-API-Key": KEY}
    assert allowed(client.get("/api/v1/model", headers=headers)) == {}


def test_a_listed_page_may_read_answers_of_the_api_with_a_key(model):
    client = client_of(model, cors_origins=(VIEWER,))
    asked = client.options(API, headers=ASK)
    assert asked.status_code == 200
    assert asked.headers["Access-Control-Allow-Origin"] == VIEWER
    assert "authorization" in asked.headers["Access-Control-Allow-Headers"].lower()
    data = {"file": (io.BytesIO(SLICE), "x.png")}
    answer = client.post(API, data=data, headers={"Origin": VIEWER, "X-API-Key": KEY})
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == VIEWER
    assert "X-Request-ID" in answer.headers["Access-Control-Expose-Headers"]
    refused = client.post(API, headers={"Origin": VIEWER})
    assert refused.status_code == 401
    assert refused.headers["Access-Control-Allow-Origin"] == VIEWER  # it may read why
    # the session of the page is not for others
    assert "Access-Control-Allow-Credentials" not in dict(allowed(answer))


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "https://viewer.example.org.evil.example", "null", VIEWER + ":8443",
     "http://viewer.example.org", "https://viewerxexample.org"],
)  # fmt: skip
def test_a_page_that_is_not_listed_may_not(model, origin):
    client = client_of(model, cors_origins=(VIEWER,))
    assert (
        "Access-Control-Allow-Origin"
        not in client.options(API, headers=ASK | {"Origin": origin}).headers
    )
    headers = {"Origin": origin, "X-API-Key": KEY}
    assert "Access-Control-Allow-Origin" not in client.get("/api/v1/model", headers=headers).headers


def test_pages_are_read_by_no_other_page(model):
    client = client_of(model, cors_origins=(VIEWER,))
    assert allowed(client.get("/login", headers={"Origin": VIEWER})) == {}


@pytest.mark.parametrize("text", ["*", "https://*.example.org", "viewer.example.org", VIEWER + "/"])
def test_what_is_no_origin_is_refused(text):
    with pytest.raises(ConfigError, match="KIDNEY_CORS_ORIGINS"):
        from_environment({"KIDNEY_CORS_ORIGINS": text})


def test_scripts_styles_and_connections_are_of_this_server_alone(client):
    policy = client.get("/").headers["Content-Security-Policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == rules["base-uri"] == rules["frame-ancestors"] == "'none'"
    for what in ("script-src", "style-src", "connect-src", "form-action", "worker-src"):
        assert rules[what] == "'self'"
    assert rules["img-src"] == "'self' data: blob:"
    assert "camera=(self)" in client.get("/").headers["Permissions-Policy"]


def test_https_is_kept_to_where_it_is_used(client):
    name = "Strict-Transport-Security"
    assert name not in client.get("/").headers
    assert client.get("/", base_url="https://localhost").headers[name] == "max-age=31536000"


def test_a_proxy_is_believed_only_where_it_is_known(model):
    name, headers = "Strict-Transport-Security", {"X-Forwarded-Proto": "https"}
    for proxies, believed in ((0, False), (1, True)):
        client = client_of(model, proxies=proxies)
        assert (name in client.get("/healthz", headers=headers).headers) == believed


def test_there_is_no_debugger_and_nothing_that_trains(app):
    assert not app.debug
    assert not app.testing
    assert not app.config["PROPAGATE_EXCEPTIONS"]
    assert app.config["MAX_CONTENT_LENGTH"] == 1_000_000
    posts = {rule.rule for rule in app.url_map.iter_rules() if "POST" in rule.methods}
    assert posts == {"/", API}
    for rule in app.url_map.iter_rules():
        assert rule.methods <= {"GET", "HEAD", "OPTIONS", "POST"}
        for word in ("train", "debug", "console", "shell", "admin", "config", "upload", "delete"):
            assert word not in rule.rule


def test_the_environment_cannot_turn_a_debugger_on(model, monkeypatch):
    for name in ("FLASK_DEBUG", "FLASK_TESTING", "FLASK_ENV"):
        monkeypatch.setenv(name, "1")
    app = create_app(Settings(model=model, threads=1, auth=False))
    assert not app.debug
