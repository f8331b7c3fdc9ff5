import io

import numpy as np
import pytest

from kidney.serving.app import create_app
from kidney.serving.guards.keys import entry, new_key
from kidney.serving.guards.rates import RateLimiter
from kidney.serving.settings import Settings
from tests.helpers.pictures import encode

A, B = new_key(), new_key()
ENTRIES = (entry("viewer", A), entry("archive", B))
SLICE = encode(np.full((40, 50), 255, np.uint8))


def test_a_bucket_is_emptied_at_once_or_steadily():
    limiter = RateLimiter("3/minute")
    assert [limiter.acquire("a", 100.0) for _ in range(4)] == [0, 0, 0, pytest.approx(20)]
    assert limiter.acquire("a", 105.0) == pytest.approx(15)
    assert limiter.acquire("b", 105.0) == 0  # another has a bucket of its own
    assert limiter.acquire("a", 120.0) == 0
    assert limiter.acquire("a", 120.0) > 0
    assert [limiter.acquire("a", 120.0 + 20 * n) for n in range(1, 50)] == [0] * 49
    assert [limiter.acquire("a", 9000.0) for _ in range(3)] == [0, 0, 0]  # it is full, and no more
    assert limiter.acquire("a", 9000.0) > 0


def test_idle_clients_are_forgotten():
    limiter = RateLimiter("10/second")
    for number in range(30_000):
        limiter.acquire(str(number), now=number / 1000)
    assert len(limiter._full_at) <= 10_001


def test_each_key_has_a_limit_of_its_own(model):
    settings = Settings(model=model, threads=1, api_keys=ENTRIES, rate_limit="3/hour")
    client = create_app(settings).test_client()

    def ask(key):
        return client.get("/api/v1/model", headers={"X-API-Key": key})

    assert [ask(A).status_code for _ in range(4)] == [200, 200, 200, 429]
    assert ask(B).status_code == 200
    refused = ask(A)
    assert refused.content_type == "application/problem+json"
    assert 1100 < int(refused.headers["Retry-After"]) <= 1200
    assert "Retry-After" in refused.get_json(force=True)["remedy"]
    for path in ("/healthz", "/readyz", "/metrics", "/static/favicon.svg"):
        assert client.get(path, headers={"X-API-Key": A}).status_code == 200


def test_without_keys_each_address_has_a_limit(model):
    settings = Settings(model=model, threads=1, auth=False, rate_limit="2/minute")
    client = create_app(settings).test_client()

    def ask(address):
        environment = {"REMOTE_ADDR": address}
        return client.get("/api/v1/model", environ_overrides=environment).status_code

    assert [ask("10.0.0.1") for _ in range(3)] == [200, 200, 429]
    assert ask("10.0.0.2") == 200


def test_a_refused_request_is_not_decoded(model, monkeypatch):
    settings = Settings(model=model, threads=1, auth=False, rate_limit="1/minute")
    client = create_app(settings).test_client()
    client.get("/api/v1/model")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the body was parsed")

    monkeypatch.setattr("werkzeug.formparser.FormDataParser.parse", refuse)
    data = {"file": (io.BytesIO(SLICE), "x.png")}
    assert client.post("/api/v1/predictions", data=data).status_code == 429


def test_the_address_is_that_of_the_client_only_behind_a_proxy_that_is_known(model):
    def asked(proxies: int):
        settings = Settings(
            model=model, threads=1, auth=False, rate_limit="1/minute", proxies=proxies
        )
        client = create_app(settings).test_client()
        return [
            client.get("/api/v1/model", headers={"X-Forwarded-For": f"10.0.0.{n}"}).status_code
            for n in (1, 2)
        ]

    assert asked(proxies=0) == [200, 429]
    assert asked(proxies=1) == [200, 200]


def test_without_a_limit_nothing_is_counted(model):
    client = create_app(Settings(model=model, threads=1, auth=False, rate_limit="")).test_client()
    assert {client.get("/api/v1/model").status_code for _ in range(1000)} == {200}
