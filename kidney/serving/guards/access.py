"""Authentication: an API key, a session of the page, or loopback only where keys are off."""

import ipaddress
from urllib.parse import urlsplit

from flask import Flask, g, redirect, request, url_for
from werkzeug.wrappers import Response

from kidney.errors import ConfigError
from kidney.serving.guards.keys import REMEDY, Key, find_key, load_keys
from kidney.serving.guards.session import session_key_name
from kidney.serving.problems import Problem, RequestError
from kidney.serving.settings import Settings

# Everything else needs a key or a session. These reveal nothing of a patient, a model or a key.
OPEN_PATHS = frozenset(
    {
        "/healthz", "/readyz", "/login", "/manifest.webmanifest", "/service-worker.js",
        "/api/v1/openapi.json",
    }
)  # fmt: skip
OPEN_BELOW = ("/static/", "/api/v1/docs")
METRICS = "/metrics"
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_SHORTEST_SECRET = 32  # characters


def check_auth(settings: Settings) -> None:
    """Check that a server without keys cannot be reached from other machines.

    Raises:
        ConfigError: keys are off and the server listens to others; keys are on and there is none,
            or one cannot be read; the secret of the sessions is short.
    """
    if not settings.auth:
        if not is_loopback(settings.host):
            raise ConfigError(
                f"Expected KIDNEY_AUTH=off only on a loopback address, but the server is to listen "
                f"on {settings.host}, where others reach it.",
                f"Listen on 127.0.0.1, or leave KIDNEY_AUTH on. {REMEDY}",
            )
        return
    if not load_keys(settings):
        raise ConfigError(
            "Expected an API key, since KIDNEY_AUTH is on, but there is none.",
            f"{REMEDY} On this machine alone KIDNEY_AUTH=off serves without keys.",
        )
    if 0 < len(settings.session_secret) < _SHORTEST_SECRET:
        raise ConfigError(
            f"Expected KIDNEY_SESSION_SECRET to have {_SHORTEST_SECRET} characters or more, but it "
            f"has {len(settings.session_secret)}.",
            "Set it to what `openssl rand -hex 32` prints, or unset it: the server then makes one.",
        )


def is_loopback(host: str) -> bool:
    """Tell whether an address or a name is reachable from this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def register(app: Flask, settings: Settings, keys: tuple[Key, ...]) -> None:
    """Let `app` authenticate each request; sets `g.key_name`, empty for open paths."""

    @app.before_request
    def authenticate() -> Response | None:
        g.key_name = ""
        g.by_session = False
        if "HTTP_HOST" not in request.environ and request.environ["SERVER_PROTOCOL"] != "HTTP/1.0":
            raise RequestError(_NO_HOST)
        if not settings.auth:
            _check_same_origin(settings)
            return None
        key = _sent_key()
        if key is not None:
            known = find_key(key, keys)
            if known is None:
                raise RequestError(_WRONG_KEY)
            g.key_name = known.name
        elif (name := session_key_name(keys)) is not None:
            g.key_name, g.by_session = name, True
        if g.key_name or _is_open():
            return None
        if request.path == METRICS and is_loopback(settings.host) and not settings.proxies:
            _check_host(settings)
            return None
        if request.path.startswith("/api/") or request.path == METRICS:
            raise RequestError(_NO_KEY)
        return redirect(url_for("session.login"), 303)

    @app.after_request
    def add_challenge(response: Response) -> Response:
        if response.status_code == 401:
            response.headers["WWW-Authenticate"] = 'Bearer realm="kidney"'
        return response


def _is_open() -> bool:
    path = request.path
    return (
        request.endpoint is None  # no such address or method; no secret
        or request.method == "OPTIONS"  # a CORS preflight carries no key
        or path in OPEN_PATHS
        or path.startswith(OPEN_BELOW)
    )


def _sent_key() -> str | None:
    kind, _, key = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return key.strip()
    return request.headers.get("X-API-Key")


def _check_same_origin(settings: Settings) -> None:
    """Refuse requests that another page sends through the operator's browser.

    Sec-Fetch-Site and Origin are set by the browser and no page can change them; programs send
    neither. As OWASP and Go's CrossOriginProtection recommend.
    """
    _check_host(settings)
    if request.method in _SAFE_METHODS:
        return
    origin = request.headers.get("Origin")
    if origin in settings.cors_origins:
        return
    site = request.headers.get("Sec-Fetch-Site")
    if site is None:
        same = origin is None or urlsplit(origin).netloc == request.host
    else:
        same = site in ("same-origin", "none")
    if not same:
        raise RequestError(_FOREIGN_PAGE)


def _check_host(settings: Settings) -> None:
    """Refuse foreign names that resolve to this machine and make a page same-origin (rebinding)."""
    name = urlsplit(f"//{request.host}").hostname or ""
    if not is_loopback(name) and name != settings.host:
        raise RequestError(_FOREIGN_NAME)


_REMEDY = "Send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`, or sign in at /login."
_NO_KEY = Problem(
    401,
    "A key is needed",
    "Expected an API key, but the request has none.",
    _REMEDY,
    "urn:kidney:problem:no-key",
)
_WRONG_KEY = Problem(
    401,
    "The key is not known",
    "Expected an API key of this server, but got another one.",
    f"Ask whoever runs this server for a key. {_REMEDY}",
    "urn:kidney:problem:wrong-key",
)
_NO_HOST = Problem(
    400,
    "Bad Request",
    "Expected a Host header (RFC 9112, 3.2), but the request has none.",
    "Send it with a usual HTTP client.",
)
_FOREIGN_NAME = Problem(
    403,
    "Not from this machine",
    "Expected a name or an address of this machine, since no key came with the request.",
    "Use http://127.0.0.1 and the port, or send a key; to serve others, set KIDNEY_API_KEYS.",
    "urn:kidney:problem:foreign-name",
)
_FOREIGN_PAGE = Problem(
    403,
    "Sent by another page",
    "Expected a request of this server's own page or of a program, but another page sent it.",
    "Open the page of this server, or list the other page's origin in KIDNEY_CORS_ORIGINS.",
    "urn:kidney:problem:foreign-page",
)
