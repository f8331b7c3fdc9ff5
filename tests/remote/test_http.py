"""A download is whole or not there, and tells no secrets."""

import errno
import hashlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import requests

from kidney.errors import DataError
from kidney.remote import http
from kidney.remote.http import check_reachable, download, read_url, without_secrets
from tests.helpers.web import serving

DATA = random.Random(0).randbytes(300_000)
OTHER = random.Random(1).randbytes(300_000)
HASH = hashlib.sha256(DATA).hexdigest()
ROOT = Path(__file__).parents[2]
CUT = 100_000


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_WAITS", (0.0, 0.0, 0.0))
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "downloads" / "set.zip"


def refused(url: str, path: Path, **options: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        download(url, path, **options)
    assert not path.exists(), "only a whole file has the name"
    assert not path.parent.exists() or not any(path.parent.iterdir())
    assert caught.value.remedy
    return caught.value


@pytest.mark.parametrize("how", ["length", "chunked"])
def test_a_file_comes_whole_and_with_its_progress(path: Path, how: str) -> None:
    steps: list[tuple[int, int | None]] = []
    with serving(DATA, how=how) as web:
        assert download(web.url, path, progress=lambda *step: steps.append(step)) == path
    assert path.read_bytes() == DATA
    total = len(DATA) if how == "length" else None
    assert steps[0] == (0, total)
    assert steps[-1] == (len(DATA), total)
    assert sorted(steps, key=lambda step: step[0]) == steps
    assert [file.name for file in path.parent.iterdir()] == ["set.zip"]


@pytest.mark.parametrize("how", ["length", "chunked"])
def test_a_cut_connection_is_tried_again_and_given_up_in_the_end(path: Path, how: str) -> None:
    with serving(DATA, how=how, cuts=[CUT, 0]) as web:
        assert download(web.url, path).read_bytes() == DATA
        assert len(web.asked) == 3
    path.unlink()
    with serving(DATA, how=how, cuts=[CUT] * 9) as web:
        assert "4 times in a row: the connection was cut" in refused(web.url, path).problem
        assert len(web.asked) == 4


def test_a_length_that_is_longer_than_the_file_is_a_cut(path: Path) -> None:
    with serving(DATA, length=len(DATA) + 10) as web:
        assert "the connection was cut" in refused(web.url, path).problem


def test_a_wrong_hash_is_reported_and_nothing_is_kept(path: Path) -> None:
    with serving(OTHER) as web:
        error = refused(web.url, path, sha256=HASH)
    assert HASH in error.problem
    assert hashlib.sha256(OTHER).hexdigest() in error.problem


@pytest.mark.parametrize("how", ["length", "chunked", "close"])
def test_more_than_is_allowed_is_not_fetched(path: Path, how: str) -> None:
    with serving(DATA, how=how) as web:
        error = refused(web.url, path, max_bytes=CUT, sha256=HASH)
        assert f"more than the {CUT} bytes" in error.problem
        with pytest.raises(DataError, match=f"more than the {CUT} bytes"):
            read_url(web.url, {}, CUT)
        assert read_url(web.url, {}, len(DATA)) == DATA


def test_an_unknown_end_is_accepted_only_with_a_hash(path: Path) -> None:
    with serving(DATA, how="close") as web:
        assert "does not give its length" in refused(web.url, path).problem
        assert download(web.url, path, sha256=HASH).read_bytes() == DATA


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_reported_at_once(path: Path, status: int) -> None:
    with serving(DATA, statuses=[status]) as web:
        error = refused(web.url, path)
        assert f"HTTP {status}" in error.problem
        assert "by hand" in error.remedy
        assert len(web.asked) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_in_trouble_is_asked_again(path: Path, status: int) -> None:
    with serving(DATA, statuses=[status, status]) as web:
        assert download(web.url, path).read_bytes() == DATA
    path.unlink()
    with serving(DATA, statuses=[status] * 9) as web:
        assert f"HTTP {status}" in refused(web.url, path).problem
        with pytest.raises(DataError, match=f"failed: HTTP {status}"):
            read_url(web.url, {}, CUT)


def test_a_refused_connection_and_an_unknown_host_are_reported_at_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "_WAITS", (60.0,))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert "refused" in refused(f"http://127.0.0.1:{port}/a.zip?key=1", path).problem

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    error = refused("https://nowhere.invalid/a.zip", path)
    assert "https://nowhere.invalid/a.zip cannot be reached" in error.problem
    assert "online" in error.remedy
    with pytest.raises(OSError, match="not known"):
        check_reachable("nowhere.invalid")


def test_a_server_that_falls_silent_is_given_up(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "_SECONDS", 0.05)
    with serving(DATA, pause=0.5) as web:
        assert "timed out" in refused(web.url, path).problem


def test_redirects_are_followed(path: Path) -> None:
    with serving(DATA, redirects={"/old": "/set.zip"}) as web:
        assert download(web.url.replace("set.zip", "old"), path).read_bytes() == DATA


@pytest.mark.parametrize("target", ["ftp://127.0.0.1/a.zip", "file:///etc/passwd", "data:,x"])
def test_a_redirect_to_anything_but_the_web_is_refused(path: Path, target: str) -> None:
    with serving(DATA, redirects={"/set.zip": target}) as web:
        assert "not followed" in refused(web.url, path).problem


def test_a_redirect_from_https_to_http_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets = iter(["https://b.org/x?key=1", "http://c.org/x?key=1"])
    asked: list[str] = []

    def send(_: object, request: requests.PreparedRequest, **__: object) -> requests.Response:
        asked.append(request.url)
        response = requests.Response()
        response.status_code, response.url, response.request = 302, request.url, request
        response.headers["location"] = next(targets)
        response.raw = type("Raw", (), {"release_conn": lambda *_: None, "read": lambda *_: b""})()
        return response

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", send)
    problem = refused("https://a.org/x?key=1", path).problem
    assert problem == "https://b.org/x leads to http:, which is not followed."
    assert asked == ["https://a.org/x?key=1", "https://b.org/x?key=1"]


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://host/a.zip", "data:,x", "/etc/passwd", "https://", "http:///a.zip",
     "https://?x", "https://user:pa/ss@host/a.zip", "http://[bad/a.zip"],
)  # fmt: skip
def test_what_is_no_web_address_is_refused(path: Path, url: str) -> None:
    assert "https://HOST/FILE" in refused(url, path).problem


@pytest.mark.parametrize("digest", ["abc", HASH[:-1] + "g"])
def test_what_is_no_hash_is_refused(path: Path, digest: str) -> None:
    assert "64 hexadecimal" in refused("https://host/a.zip", path, sha256=digest).problem


def test_a_file_of_the_right_hash_needs_no_server(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(DATA)
    assert download("https://nowhere.invalid/a.zip", path, sha256=HASH.upper()) == path
    with serving(OTHER) as web:
        assert download(web.url, path).read_bytes() == OTHER


def test_a_token_and_a_password_go_to_their_host_only(path: Path) -> None:
    token = {"Authorization": "Bearer secret"}
    with serving(DATA) as other, serving(b"", redirects={"/set.zip": other.url}) as web:
        assert download(web.url, path, headers=token).read_bytes() == DATA
        download(web.url.replace("http://", "http://user:w%C3%B6rd@"), path)
        messages = [asked["Authorization"] for asked in web.asked]
        assert messages == ["Bearer secret", "Basic dXNlcjp3w7ZyZA=="]
        assert not any("Authorization" in asked for asked in other.asked)


@pytest.mark.parametrize("status", [None, 403])
def test_no_error_and_no_file_holds_a_secret(
    path: Path, status: int | None, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving(DATA, statuses=[status] if status else [], cuts=[CUT, 0, 0, 0]) as web:
        url = web.url.replace("http://", "http://user:pass%40word@") + "?token=secret#part"
        error = refused(url, path)
        assert web.url in error.problem
        assert web.asked[0]["Authorization"] == "Basic dXNlcjpwYXNzQHdvcmQ="
        assert web.asked[0]["path"] == "/set.zip?token=secret"
    gone = refused(url, path)  # the server has ended
    errors = [*traceback.format_exception(error), *traceback.format_exception(gone)]
    for secret in ("user:", "pass%40word", "pass@word", "token="):
        assert secret not in "".join(errors) + str(capfd.readouterr())


@pytest.mark.parametrize(
    ("origin", "target", "followed"),
    [
        ("http://8.8.8.8/a", "http://169.254.169.254/latest/meta-data", False),
        ("http://8.8.8.8/a", "http://127.0.0.1:5000/", False),
        ("https://8.8.8.8/a", "https://[::1]/", False),
        ("http://8.8.8.8/a", "http://10.0.0.7/a", False),
        ("http://10.0.0.7/a", "http://10.0.0.8/a", True),
        ("http://8.8.8.8/a", "http://9.9.9.9/a", True),
        ("http://8.8.8.8/a", "/b", True),
    ],
)
def test_a_redirect_from_outside_leads_into_no_network(
    origin: str, target: str, followed: bool
) -> None:
    response = requests.Response()
    response.status_code, response.url, response.headers["location"] = 302, origin, target
    if followed:
        http._check_redirect(response)
    else:
        with pytest.raises(DataError, match="internal network"):
            http._check_redirect(response)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:word@host:8443/a/b.zip?token=1#x", "https://host:8443/a/b.zip"),
        ("HTTPS://host/a.zip", "https://host/a.zip"),
        ("https://host/@scope/a.zip", "https://host/@scope/a.zip"),
        ("https://user:wo/rd@host/a.zip", "https://(no valid address)"),
        ("https://user:wo?rd@host/a.zip", "https://(no valid address)"),
        ("ftp://user:word@host/a.zip", "ftp://host/a.zip"),
        ("postgresql://user:word@host:5432/mlflow?x=1", "postgresql://host:5432/mlflow?x=1"),
        ("sqlite:///a@b/mlflow.db", "sqlite:///a@b/mlflow.db"),
        ("kaggle:owner/name", "kaggle:owner/name"),
        ("/data/what?.zip", "/data/what?.zip"),
    ],
)
def test_an_address_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert without_secrets(url) == shown


def test_a_space_in_an_address_is_escaped(path: Path) -> None:
    with serving(DATA) as web:
        download(web.url.replace("set.zip", "my ß set%20.zip"), path)
        assert web.asked[0]["path"] == "/my%20%C3%9F%20set%20.zip"


def test_a_disk_without_room_is_reported_before_the_first_byte(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(9, 9, len(DATA) - 1))
    with serving(DATA) as web:
        assert f"{len(DATA) - 1} free" in refused(web.url, path).problem


def test_a_disk_that_fills_up_is_reported(path: Path) -> None:
    def full(done: int, total: int | None) -> None:  # noqa: ARG001
        if done > CUT:
            raise OSError(errno.ENOSPC, "No space left on device")

    with serving(DATA) as web:
        error = refused(web.url, path, progress=full)
        assert "No space left on device" in error.problem
        assert "room" in error.remedy
        assert len(web.asked) == 1


def test_a_killed_download_leaves_nothing_under_the_name(path: Path) -> None:
    command = "import sys, kidney.remote.http as h, pathlib; " \
              "h.download(sys.argv[1], pathlib.Path(sys.argv[2]))"  # fmt: skip
    with serving(DATA, pause=0.05) as web:
        process = subprocess.Popen([sys.executable, "-c", command, web.url, path], cwd=ROOT)
        while not web.asked:
            assert process.poll() is None
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert not path.exists()
        web.pause = 0.0
        assert download(web.url, path).read_bytes() == DATA
