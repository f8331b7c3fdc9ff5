import io

import numpy as np
import pytest
from flask.testing import FlaskClient
from werkzeug.test import EnvironBuilder, run_wsgi_app

from kidney.errors import ConfigError
from kidney.serving.app import create_app
from kidney.serving.guards.access import check_auth, is_loopback
from kidney.serving.guards.keys import entry, new_key
from kidney.serving.settings import Settings
from tests.helpers.pictures import encode

KEY = new_key()
ENTRY = entry("viewer", KEY)
API = "/api/v1/predictions"
SLICE = encode(np.full((40, 50), 255, np.uint8))


@pytest.fixture
def guarded(model) -> FlaskClient:
    return create_app(Settings(model=model, threads=1, api_keys=(ENTRY,))).test_client()


def post(client: FlaskClient, to: str = API, **options):
    return client.post(to, data={"file": (io.BytesIO(SLICE), "x.png")}, **options)


@pytest.mark.parametrize(
    "headers",
    [{"Authorization": f"Bearer {KEY}"}, {"X-API-Key": KEY}],
    ids=["bearer", "own header"],
)
def test_a_key_opens_the_api_in_either_header(guarded, headers):
    assert post(guarded, headers=headers).status_code == 200
    assert guarded.get("/api/v1/model", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": ""},
        {"X-API-Key": "wrong"},
        {"X-API-Key": ENTRY},
        {"X-API-Key": ENTRY.partition(":")[2]},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {KEY}"},
        {"Authorization": "Bearer wrong", "X-API-Key": KEY},
    ],
)
def test_without_the_key_there_is_a_problem_that_says_how_to_send_it(guarded, headers):
    for answer in (post(guarded, headers=headers), guarded.get("/api/v1/model", headers=headers)):
        assert answer.status_code == 401
        assert answer.content_type == "application/problem+json"
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert "Authorization: Bearer KEY" in answer.get_json(force=True)["remedy"]
        assert "predictions" not in answer.get_json(force=True)


def test_nothing_is_read_of_a_request_without_a_key(guarded, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the body was parsed")

    monkeypatch.setattr("werkzeug.formparser.FormDataParser.parse", refuse)
    assert post(guarded).status_code == 401


def test_every_route_but_the_listed_ones_asks_for_a_key(guarded):
    open_ = {"/healthz", "/readyz", "/static/<path:filename>", "/metrics", "/login"}
    open_ |= {"/manifest.webmanifest", "/service-worker.js"}  # they say nothing of anybody
    asked = 0
    for rule in guarded.application.url_map.iter_rules():
        if rule.rule in open_ | {"/api/v1/openapi.json"} or rule.rule.startswith("/api/v1/docs"):
            continue
        for method in rule.methods - {"OPTIONS", "HEAD"}:
            answer = guarded.open(rule.rule, method=method)
            allowed = (401,) if rule.rule.startswith("/api/") else (303,)
            assert answer.status_code in allowed, (method, rule.rule)
            asked += 1
    assert asked >= 4
    for path in ("/healthz", "/readyz", "/static/favicon.svg", "/login"):
        assert guarded.get(path).status_code == 200


def test_a_page_leads_to_the_login(guarded):
    answer = guarded.get("/")
    assert (answer.status_code, answer.location) == (303, "/login")


def test_metrics_are_open_on_loopback_and_else_need_a_key(model):
    def asked(**settings):
        app = create_app(Settings(model=model, threads=1, api_keys=(ENTRY,), **settings))
        client = app.test_client()
        with_key = client.get("/metrics", headers={"X-API-Key": KEY}).status_code
        return client.get("/metrics").status_code, with_key

    assert asked(host="127.0.0.1") == (200, 200)
    assert asked(host="0.0.0.0") == (401, 200)
    assert asked(host="127.0.0.1", proxies=1) == (401, 200)  # whom a proxy lets in is not known


def test_open_metrics_answer_to_names_of_this_machine_only(guarded):
    def asked(host: str, **headers: str) -> int:
        return guarded.get("/metrics", base_url=f"http://{host}", headers=headers).status_code

    assert [asked(host) for host in ("localhost", "127.0.0.1:8000")] == [200, 200]
    assert asked("attacker.example") == 403
    assert asked("attacker.example", **{"X-API-Key": KEY}) == 200


@pytest.mark.parametrize(("version", "status"), [("HTTP/1.1", 400), ("HTTP/1.0", 200)])
def test_a_request_needs_a_host(guarded, version, status):
    environment = EnvironBuilder("/healthz").get_environ() | {"SERVER_PROTOCOL": version}
    del environment["HTTP_HOST"]
    assert run_wsgi_app(guarded.application, environment)[1].startswith(str(status))


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("127.0.0.1.example.org", False),
        ("localhost.example.org", False),
        ("", False),
    ],
)
def test_keys_are_off_only_where_nobody_else_comes(host, loopback):
    assert is_loopback(host) == loopback
    if loopback:
        check_auth(Settings(auth=False, host=host))
    else:
        with pytest.raises(ConfigError, match="KIDNEY_AUTH=off"):
            check_auth(Settings(auth=False, host=host))


def test_keys_that_are_on_need_a_key():
    check_auth(Settings(api_keys=(ENTRY,)))
    with pytest.raises(ConfigError, match=r"python -m kidney\.serving\.guards\.keys"):
        check_auth(Settings())
    with pytest.raises(ConfigError, match="KIDNEY_SESSION_SECRET"):
        check_auth(Settings(api_keys=(ENTRY,), session_secret="short"))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),  # a program
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:9"}, 403),
        ({"Origin": "http://localhost"}, 200),
        ({"Origin": "http://localhost:9"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
@pytest.mark.parametrize("to", ["/", API])
def test_without_keys_other_pages_cannot_post(client, headers, status, to):
    assert post(client, to, headers=headers).status_code == status


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "10.0.0.1", "a@b"])
def test_without_keys_a_name_of_someone_else_leads_nowhere(client, host):
    for path in ("/", "/api/v1/model", "/metrics"):
        assert client.get(path, headers={"Host": host}).status_code in (400, 403)


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1:8000", "[::1]:8000"])
def test_without_keys_the_names_of_this_machine_are_fine(client, host):
    assert client.get("/api/v1/model", headers={"Host": host}).status_code == 200
