"""Sessions of the page: the key is entered once, then a signed cookie stands for it.

The cookie holds the name of the key, never the key, and its expiry. It is HttpOnly and
SameSite=Strict. Being signed and not stored, it ends at its expiry, with its key or with the
secret; /logout cannot end it in a browser that kept a copy.
"""

import datetime
import hmac
import secrets
import time
from collections.abc import Iterable

from flask import Blueprint, Flask, g, redirect, render_template, request, session, url_for
from flask.sessions import SecureCookieSessionInterface
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import generate_csrf, validate_csrf
from wtforms import ValidationError

from kidney.serving.guards.keys import Key, find_key
from kidney.serving.guards.rates import RateLimiter, check_rate
from kidney.serving.problems import Problem, RequestError
from kidney.serving.settings import Settings

LIFETIME = datetime.timedelta(hours=12)  # a shift
TOKEN_FIELD = "csrf_token"
TOKEN_HEADER = "X-CSRF-Token"
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_PROOF_BYTES = 8
_LONGEST_FORM = 4096  # bytes of a key and a token
_WRONG_LOGINS = "10/minute"  # of one address; a right key always gets in: others share the address


class _Cookie(SecureCookieSessionInterface):
    """Flask's signed cookie, marked Secure where it came over https."""

    def get_cookie_secure(self, _: Flask) -> bool:
        return request.is_secure


def register(app: Flask, settings: Settings, keys: tuple[Key, ...]) -> None:
    """Give `app` its sessions, /login and /logout, and the variables of its templates.

    The check of tokens may read the form, so it comes after the bounds on requests in flight.
    Templates get `csrf_token()`, the token for forms (field csrf_token) and for fetch (header
    X-CSRF-Token), empty where keys are off, and `signed_in`, the name of the session's key.
    """
    app.session_interface = _Cookie()
    app.config.update(
        SECRET_KEY=settings.session_secret or secrets.token_hex(32),
        SESSION_COOKIE_NAME="kidney_session",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Strict",
        PERMANENT_SESSION_LIFETIME=LIFETIME,
        SESSION_REFRESH_EACH_REQUEST=False,
        WTF_CSRF_TIME_LIMIT=None,  # a token is good as long as its session
    )

    @app.context_processor
    def common() -> dict[str, object]:
        return {
            "csrf_token": generate_csrf if settings.auth else str,
            "signed_in": g.key_name if g.get("by_session") else "",
        }

    @app.before_request
    def check_token() -> None:
        if g.by_session and request.method not in _SAFE_METHODS and not _token_is_good():
            raise RequestError(_NO_TOKEN)

    if settings.auth:
        app.register_blueprint(_routes(keys))


def session_key_name(keys: Iterable[Key]) -> str | None:
    """Return the name of the key of this request's session; None: no valid session."""
    if session.get("until", 0) < time.time():
        return None
    for key in keys:
        if key.name == session.get("name") and hmac.compare_digest(_proof(key), session["proof"]):
            return key.name
    return None


def _routes(keys: tuple[Key, ...]) -> Blueprint:
    routes = Blueprint("session", __name__)
    wrong = RateLimiter(_WRONG_LOGINS)

    @routes.get("/login")
    def login() -> ResponseReturnValue:
        return render_template("login.html", problem=None)

    @routes.post("/login")
    def sign_in() -> ResponseReturnValue:
        request.max_content_length = _LONGEST_FORM
        if not _token_is_good():
            return render_template("login.html", problem=_EXPIRED), 400
        key = find_key(request.form.get("key", "").strip(), keys)
        if key is None:
            check_rate(wrong, request.remote_addr or "")
            return render_template("login.html", problem=_WRONG), 401
        session.clear()  # against session fixation
        session.permanent = True
        session["name"], session["proof"] = key.name, _proof(key)
        session["until"] = int(time.time() + LIFETIME.total_seconds())
        return redirect(url_for("pages.upload"), 303)

    @routes.post("/logout")
    def logout() -> ResponseReturnValue:
        session.clear()
        return redirect(url_for("session.login"), 303)

    return routes


def _proof(key: Key) -> str:
    """A part of the key's hash: a session does not outlive the key that it stands for."""
    return key.digest[:_PROOF_BYTES].hex()


def _token_is_good() -> bool:
    token = request.headers.get(TOKEN_HEADER)
    if token is None and not request.path.startswith("/api/"):  # only forms of pages have a field
        token = request.form.get(TOKEN_FIELD)
    try:
        validate_csrf(token)
    except ValidationError:
        return False
    return True


_WRONG = "This is not a key of this server. Ask whoever runs it for one."
_EXPIRED = "This form has been open for too long. Enter the key again."
_NO_TOKEN = Problem(
    403,
    "The form is no longer valid",
    "Expected the token of the page's session, but it is missing or another one.",
    f"Load the page again; a program sends a key, or the token in {TOKEN_HEADER}.",
    "urn:kidney:problem:csrf",
)
