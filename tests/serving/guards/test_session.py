import io
import re
import time

import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from itsdangerous import URLSafeTimedSerializer

from kidney.serving.app import create_app
from kidney.serving.guards.keys import entry, new_key
from kidney.serving.guards.session import LIFETIME
from kidney.serving.settings import Settings
from tests.helpers.pictures import encode

KEY = new_key()
ENTRY = entry("viewer", KEY)
API = "/api/v1/predictions"
SECRET = "s" * 64
SLICE = encode(np.full((40, 50), 255, np.uint8))


@pytest.fixture
def guarded(model) -> Flask:
    return create_app(Settings(model=model, threads=1, api_keys=(ENTRY,), session_secret=SECRET))


@pytest.fixture
def browser(guarded) -> FlaskClient:
    return guarded.test_client()


def token(page) -> str:
    (found,) = set(re.findall(r'name="csrf[-_]token" (?:value|content)="([^"]+)"', page.text))
    return found


def sign_in(browser: FlaskClient, key: str = KEY, **options):
    form = {"key": key, "csrf_token": token(browser.get("/login"))}
    return browser.post("/login", data=form, **options)


def page_token(browser: FlaskClient) -> str:
    with browser.session_transaction() as session:
        session.setdefault("csrf_token", "0" * 40)
        raw = session["csrf_token"]
    return URLSafeTimedSerializer(SECRET, salt="wtf-csrf-token").dumps(raw)


def read(browser: FlaskClient, to: str = API, **options):
    data = {"file": (io.BytesIO(SLICE), "x.png"), **options.pop("form", {})}
    return browser.post(to, data=data, **options)


def test_a_key_opens_the_page_and_its_token_the_api(browser):
    answer = sign_in(browser)
    assert (answer.status_code, answer.location) == (303, "/")
    assert browser.get("/").status_code == 200
    sent = page_token(browser)
    assert read(browser, headers={"X-CSRF-Token": sent}).status_code == 200
    assert read(browser, to="/", form={"csrf_token": sent}).status_code == 200


def test_the_cookie_is_for_this_server_alone_and_holds_no_key(browser):
    cookie = sign_in(browser).headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert KEY not in cookie
    with browser.session_transaction() as session:
        assert KEY not in str(dict(session))


def test_over_https_the_cookie_never_leaves_it(guarded):
    browser = guarded.test_client()
    page = browser.get("/login", base_url="https://localhost")
    form = {"key": KEY, "csrf_token": token(page)}
    answer = browser.post("/login", data=form, base_url="https://localhost")
    assert "Secure" in answer.headers["Set-Cookie"].split("; ")


@pytest.mark.parametrize("key", ["", "wrong", ENTRY], ids=["none", "wrong", "the entry"])
def test_another_key_does_not_open(browser, key):
    answer = sign_in(browser, key)
    assert answer.status_code == 401
    assert "not a key of this server" in answer.text
    assert browser.get("/").status_code == 303


@pytest.mark.parametrize("sent", [None, "", "wrong", "of another session"])
def test_a_post_without_the_token_of_the_session_is_refused(guarded, browser, sent):
    if sent == "of another session":
        other = guarded.test_client()
        sign_in(other)
        sent = page_token(other)
        with browser.session_transaction() as session:
            session["csrf_token"] = "1" * 40
    form = {} if sent is None else {"csrf_token": sent}
    assert browser.post("/login", data={"key": KEY, **form}).status_code == 400
    sign_in(browser)
    browser.get("/")
    headers = {} if sent is None else {"X-CSRF-Token": sent}
    for to in (API, "/", "/logout"):
        assert read(browser, to=to, headers=headers, form=form).status_code == 403
    assert browser.get("/").status_code == 200  # still signed in


def test_of_the_api_the_form_is_not_read_for_a_token(browser):
    sign_in(browser)
    assert read(browser, form={"csrf_token": page_token(browser)}).status_code == 403


def test_a_key_needs_no_token_also_beside_a_session(browser):
    sign_in(browser)
    assert read(browser, headers={"X-API-Key": KEY}).status_code == 200


def test_logging_out_ends_it(browser):
    sign_in(browser)
    answer = browser.post("/logout", data={"csrf_token": page_token(browser)})
    assert (answer.status_code, answer.location) == (303, "/login")
    assert browser.get("/").status_code == 303
    assert browser.get("/logout").status_code == 405  # no picture can log someone out


def test_a_session_ends_with_its_time_also_when_it_is_used(browser, monkeypatch):
    sign_in(browser)
    now = time.time()
    monkeypatch.setattr(
        "kidney.serving.guards.session.time.time", lambda: now + LIFETIME.seconds - 9
    )
    assert browser.get("/").status_code == 200
    page_token(browser)  # the cookie is signed anew, and young again
    monkeypatch.setattr(
        "kidney.serving.guards.session.time.time", lambda: now + LIFETIME.seconds + 9
    )
    assert browser.get("/").status_code == 303
    assert read(browser, headers={"X-CSRF-Token": page_token(browser)}).status_code == 401


def test_a_session_ends_with_its_key_and_not_with_the_server(model, browser):
    sign_in(browser)
    cookie = browser.get_cookie("kidney_session").value

    def status(**settings):
        app = create_app(Settings(model=model, threads=1, **settings))
        other = app.test_client()
        other.set_cookie("kidney_session", cookie)
        return other.get("/").status_code

    same = {"api_keys": (ENTRY,), "session_secret": SECRET}
    assert status(**same) == 200  # another worker, or the server started again
    assert status(**same | {"session_secret": "t" * 64}) == 303
    assert status(**same | {"api_keys": (entry("viewer", new_key()),)}) == 303
    assert status(**same | {"api_keys": (entry("other", KEY),)}) == 303


def test_a_forged_cookie_opens_nothing(browser):
    sign_in(browser)
    value = browser.get_cookie("kidney_session").value
    browser.set_cookie("kidney_session", ("A" if value[0] != "A" else "B") + value[1:])
    assert browser.get("/").status_code == 303


def test_signing_in_gives_a_new_session(browser):
    browser.get("/login")
    with browser.session_transaction() as session:
        before = session["csrf_token"]
    sign_in(browser)
    with browser.session_transaction() as session:
        assert session.get("csrf_token") != before


def test_a_login_form_is_short(browser):
    form = {"key": "k" * 10_000, "csrf_token": token(browser.get("/login"))}
    assert browser.post("/login", data=form).status_code == 413


def test_wrong_logins_are_limited_and_lock_nobody_out(browser):
    wrong = [sign_in(browser, "wrong").status_code for _ in range(12)]
    assert wrong == [401] * 10 + [429] * 2
    assert sign_in(browser).status_code == 303


def test_without_keys_there_is_nothing_to_sign_in_to(client):
    assert client.get("/login").status_code == 404
    page = client.get("/")
    assert "Sign out" not in page.text
    assert "Set-Cookie" not in page.headers
