"""A download is whole or not there, goes on where it was cut off, and tells no secrets."""

import errno
import hashlib
import multiprocessing
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

from kidney.errors import DataError
from kidney.remote import download as module
from kidney.remote.download import download, forget
from kidney.remote.http import UnreachableError, open_url, without_secrets
from tests.helpers.web import serving

DATA = random.Random(0).randbytes(300_000)
OTHER = random.Random(1).randbytes(300_000)
HASH = hashlib.sha256(DATA).hexdigest()
ROOT = Path(__file__).parents[2]
CUT = 100_000


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WAITS", (0.0, 0.0, 0.0))
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "downloads" / "set.zip"


def refused(url: str, path: Path, **settings: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        download(url, path, **settings)
    assert not path.exists(), "only a whole file has the name"
    assert caught.value.remedy
    return caught.value


def partial(path: Path) -> Path:
    return path.with_name(".set.zip.download")


@pytest.mark.parametrize("how", ["length", "chunked"])
def test_a_file_comes_whole_and_with_its_progress(path: Path, how: str) -> None:
    told: list[tuple[int, int | None]] = []
    with serving(DATA, how=how) as web:
        assert download(web.url, path, progress=lambda *step: told.append(step)) == path
    assert path.read_bytes() == DATA
    total = len(DATA) if how == "length" else None
    assert told[0] == (0, total)
    assert told[-1] == (len(DATA), total)
    assert sorted(told, key=lambda step: step[0]) == told
    assert {file.name for file in path.parent.iterdir()} == {"set.zip", ".set.zip.download.json"}


@pytest.mark.parametrize("how", ["length", "chunked"])
def test_a_cut_connection_goes_on_where_it_was_cut(path: Path, how: str) -> None:
    with serving(DATA, how=how, cuts=[CUT, CUT]) as web:
        download(web.url, path)
        assert path.read_bytes() == DATA
        begins = [int(text.split("=")[1][:-1]) for text in web.ranges_asked() if text]
        assert len(begins) == 2
        assert all(0 < begin <= CUT * n for n, begin in enumerate(begins, 1))
        assert web.asked[1]["If-Range"] == '"1"'


def test_a_connection_that_is_cut_again_and_again_is_given_up_and_resumed_by_a_rerun(
    path: Path,
) -> None:
    with serving(DATA, cuts=[CUT] + [0] * 3) as web:
        error = refused(web.url, path)
        assert "4 times in a row" in error.problem
        assert "goes on where" in error.remedy
        assert len(web.asked) == 4
        assert partial(path).stat().st_size == CUT
        assert download(web.url, path, sha256=HASH).read_bytes() == DATA
        assert web.ranges_asked()[-1] == f"bytes={CUT}-"


def test_no_number_of_cuts_stops_a_download_that_gets_on(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = random.Random(2).randbytes(6 * 2**20)
    monkeypatch.setattr(module, "_WAITS", (0.0,))
    with serving(data, cuts=[2**20] * 5, block=2**20) as web:
        assert download(web.url, path).read_bytes() == data


@pytest.mark.parametrize("heeds", [True, False])
def test_a_file_that_changed_in_between_is_begun_anew(path: Path, heeds: bool) -> None:
    with serving(DATA, cuts=[CUT, 0, 0, 0]) as web:
        refused(web.url, path)
        web.data, web.etag, web.heeds_if_range = OTHER, '"2"', heeds
        assert download(web.url, path).read_bytes() == OTHER


def test_a_file_that_became_shorter_is_begun_anew(path: Path) -> None:
    with serving(DATA, cuts=[CUT, 0, 0, 0]) as web:
        refused(web.url, path)
        web.data, web.heeds_if_range = OTHER[:1000], False
        assert download(web.url, path).read_bytes() == OTHER[:1000]


@pytest.mark.parametrize(
    "settings", [{"ranges": False}, {"etag": 'W/"1"'}, {"etag": ""}, {"etag": "", "ranges": False}]
)
def test_where_nothing_vouches_for_the_first_bytes_they_are_fetched_again(
    path: Path, settings: dict[str, Any]
) -> None:
    with serving(DATA, cuts=[CUT], **settings) as web:
        assert download(web.url, path).read_bytes() == DATA
        if web.ranges:
            assert web.ranges_asked() == [None, None]


@pytest.mark.parametrize("etag", ["", 'W/"1"'])
def test_the_date_or_the_hash_vouches_where_there_is_no_strong_etag(path: Path, etag: str) -> None:
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    with serving(DATA, etag=etag, modified=date, cuts=[CUT]) as web:
        assert download(web.url, path).read_bytes() == DATA
        assert web.asked[1]["If-Range"] == date
    path.unlink()
    with serving(DATA, etag=etag, cuts=[CUT]) as web:
        assert download(web.url, path, sha256=HASH).read_bytes() == DATA
        assert web.ranges_asked() == [None, f"bytes={CUT}-"]


def test_the_bytes_of_another_address_are_not_gone_on_with(path: Path) -> None:
    with serving(DATA, cuts=[CUT, 0, 0, 0]) as web:
        refused(web.url + "?id=1", path)
        web.data = OTHER
        assert download(web.url + "?id=2", path).read_bytes() == OTHER
        assert web.ranges_asked()[-1] is None


def test_a_wrong_hash_is_told_and_nothing_is_kept(path: Path) -> None:
    with serving(OTHER) as web:
        error = refused(web.url, path, sha256=HASH)
    assert HASH in error.problem
    assert hashlib.sha256(OTHER).hexdigest() in error.problem
    assert not any(path.parent.iterdir())


@pytest.mark.parametrize("how", ["length", "chunked", "close"])
def test_a_wrong_size_is_refused(path: Path, how: str) -> None:
    with serving(DATA, how=how) as web:
        error = refused(web.url, path, size=len(DATA) - 1)
    assert str(len(DATA) - 1) in error.problem


@pytest.mark.parametrize("how", ["length", "chunked"])
def test_more_than_is_allowed_is_not_fetched(path: Path, how: str) -> None:
    with serving(DATA, how=how) as web:
        error = refused(web.url, path, max_bytes=CUT)
    assert f"more than the {CUT} that are allowed" in error.problem
    assert not partial(path).exists()


def test_a_length_that_is_longer_than_the_file_is_a_cut(path: Path) -> None:
    with serving(DATA, length=len(DATA) + 10, ranges=False) as web:
        assert f"of {len(DATA) + 10} bytes came" in refused(web.url, path).problem


def test_an_end_that_nobody_tells_is_believed_only_with_hash_or_size(path: Path) -> None:
    with serving(DATA, how="close") as web:
        assert "does not say how long" in refused(web.url, path).problem
        assert download(web.url, path, sha256=HASH).read_bytes() == DATA
        path.unlink()
        assert download(web.url, path, size=len(DATA)).read_bytes() == DATA


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_told_at_once(path: Path, status: int) -> None:
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


def test_a_refused_connection_and_an_unknown_host_are_told_at_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert "refused" in refused(f"http://127.0.0.1:{port}/a.zip", path).problem

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    error = refused("https://nowhere.invalid/a.zip", path)
    assert "https://nowhere.invalid/a.zip cannot be reached" in error.problem
    assert "online" in error.remedy


def test_a_network_that_goes_away_in_between_is_waited_for(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[bool] = []

    def sometimes(*args: Any) -> Any:
        tries.append(True)
        if len(tries) == 2:
            raise UnreachableError("Name or service not known", "See that this machine is online.")
        return open_url(*args)

    monkeypatch.setattr(module, "open_url", sometimes)
    with serving(DATA, cuts=[CUT]) as web:
        assert download(web.url, path).read_bytes() == DATA
    assert len(tries) == 3


def test_a_server_that_falls_silent_is_given_up(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SECONDS", 0.05)
    monkeypatch.setattr(module, "_WAITS", (0.0,))
    with serving(DATA, pause=0.5) as web:
        assert "timed out" in refused(web.url, path).problem


def test_redirects_are_followed_and_the_range_with_them(path: Path) -> None:
    with serving(DATA, cuts=[CUT], redirects={"/old": "/set.zip"}) as web:
        old = web.url.replace("set.zip", "old")
        assert download(old, path).read_bytes() == DATA
        assert web.asked[-1]["Range"] == f"bytes={CUT}-"


@pytest.mark.parametrize("target", ["ftp://127.0.0.1/a.zip", "file:///etc/passwd", "data:,x"])
def test_a_redirect_to_anything_but_the_web_is_refused(path: Path, target: str) -> None:
    with serving(DATA, redirects={"/set.zip": target}) as web:
        refused(web.url, path)


def test_a_redirect_from_https_to_http_is_refused() -> None:
    from urllib.request import Request

    from kidney.remote.http import _SafeRedirects

    def ask(old: str, new: str) -> Any:
        return _SafeRedirects().redirect_request(Request(old), None, 302, "Found", {}, new)

    assert ask("https://a.org/x?t=1", "https://b.org/x").full_url == "https://b.org/x"
    with pytest.raises(DataError, match=r"https://a.org/x leads to http:"):
        ask("https://a.org/x?t=1", "http://b.org/x?key=1")


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


def test_a_finished_download_is_not_asked_for_again(path: Path) -> None:
    with serving(DATA) as web:
        download(web.url, path)
        download(web.url, path)
        download(web.url, path, sha256=HASH.upper())
        assert len(web.asked) == 1
        path.write_bytes(b"touched")
        assert download(web.url, path).read_bytes() == DATA
        web.data = OTHER
        assert download(web.url + "?other", path).read_bytes() == OTHER
        assert len(web.asked) == 3


def test_a_file_whose_address_changes_is_gone_on_with_under_its_name(path: Path) -> None:
    with serving(DATA, cuts=[CUT, 0, 0, 0]) as web:
        refused(web.url + "?signed=1", path, name="s3://bucket/set.zip")
        assert download(web.url + "?signed=2", path, name="s3://bucket/set.zip").exists()
        assert web.ranges_asked()[-1] == f"bytes={CUT}-"
    assert path.read_bytes() == DATA


def test_what_was_forgotten_leaves_nothing(path: Path) -> None:
    with serving(DATA) as web:
        forget(download(web.url, path))
    assert list(path.parent.iterdir()) == []


def test_a_token_goes_to_its_host_only(path: Path) -> None:
    token = {"Authorization": "Bearer secret"}
    with serving(DATA) as other, serving(b"", redirects={"/set.zip": other.url}) as web:
        assert download(web.url, path, headers=token).read_bytes() == DATA
        assert web.asked[0]["Authorization"] == "Bearer secret"
        assert "Authorization" not in other.asked[0]


def test_a_file_of_the_right_hash_needs_no_server(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(DATA)
    assert download("https://nowhere.invalid/a.zip", path, sha256=HASH) == path


@pytest.mark.parametrize("status", [None, 403])
def test_no_error_and_no_file_tells_a_secret(
    path: Path, status: int | None, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving(DATA, statuses=[status] if status else [], cuts=[CUT, 0, 0, 0]) as web:
        url = web.url.replace("http://", "http://user:pass%40word@") + "?token=secret#part"
        error = refused(url, path)
        assert web.url in error.problem
        assert web.asked[0]["Authorization"] == "Basic dXNlcjpwYXNzQHdvcmQ="
        assert web.asked[0]["path"] == "/set.zip?token=secret"
    kept = b"".join(file.read_bytes() for file in path.parent.iterdir() if "json" in file.name)
    told = "".join(traceback.format_exception(error)) + str(capfd.readouterr()) + kept.decode()
    for secret in ("user:", "pass%40word", "pass@word", "token="):
        assert secret not in told


def test_the_password_does_not_go_to_another_host(path: Path) -> None:
    with serving(DATA) as other:
        with serving(DATA, redirects={"/set.zip": other.url}) as web:
            download(web.url.replace("http://", "http://user:word@"), path)
            assert "Authorization" in web.asked[0]
        assert "Authorization" not in other.asked[0]


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://user:word@host:8443/a/b.zip?token=1#x", "https://host:8443/a/b.zip"),
        ("HTTPS://host/a.zip", "https://host/a.zip"),
        ("https://host/@scope/a.zip", "https://host/@scope/a.zip"),
        ("https://user:wo/rd@host/a.zip", "https://(no valid address)"),
        ("https://user:wo?rd@host/a.zip", "https://(no valid address)"),
        ("kaggle:owner/name", "kaggle:owner/name"),
        ("/data/what?.zip", "/data/what?.zip"),
    ],
)
def test_an_address_is_told_without_its_secrets(url: str, told: str) -> None:
    assert without_secrets(url) == told


def test_a_space_in_an_address_is_escaped(path: Path) -> None:
    with serving(DATA) as web:
        download(web.url.replace("set.zip", "my ß set%20.zip"), path)
        assert web.asked[0]["path"] == "/my%20%C3%9F%20set%20.zip"


def test_a_disk_without_room_is_told_before_the_first_byte(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(9, 9, len(DATA) - 1))
    with serving(DATA) as web:
        assert f"{len(DATA) - 1} free" in refused(web.url, path).problem


def test_a_disk_that_fills_up_is_told_and_a_rerun_goes_on(path: Path) -> None:
    def full(done: int, total: int | None) -> None:  # noqa: ARG001
        if done > CUT:
            raise OSError(errno.ENOSPC, "No space left on device")

    with serving(DATA) as web:
        error = refused(web.url, path, progress=full)
        assert "No space left on device" in error.problem
        assert "room" in error.remedy
        assert len(web.asked) == 1
        assert download(web.url, path).read_bytes() == DATA
        assert int(str(web.ranges_asked()[1])[6:-1]) > CUT


def _download_in_a_process(url: str, path: str) -> None:
    download(url, Path(path), sha256=HASH)


def test_two_processes_at_once_download_the_file_once(path: Path) -> None:
    context = multiprocessing.get_context("fork")
    with serving(DATA, pause=0.02) as web:
        workers = [
            context.Process(target=_download_in_a_process, args=(web.url, str(path)))
            for _ in range(3)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(20)
        assert [worker.exitcode for worker in workers] == [0, 0, 0]
        assert len(web.asked) == 1
    assert path.read_bytes() == DATA
    assert {file.name for file in path.parent.iterdir()} == {"set.zip", ".set.zip.download.json"}


def test_killed_at_any_moment_a_rerun_completes(path: Path) -> None:
    command = "import sys, kidney.remote.download as d, pathlib; d._BLOCK = 4096; " \
              "d.download(sys.argv[1], pathlib.Path(sys.argv[2]))"  # fmt: skip
    chance = random.Random(3)
    with serving(DATA, pause=0.02, block=4096) as web:  # 1.5 s for all of it
        for turn in range(5):
            process = subprocess.Popen([sys.executable, "-c", command, web.url, path], cwd=ROOT)
            while len(web.asked) <= turn or (turn == 0 and not size_of(partial(path))):
                assert process.poll() is None
                time.sleep(0.002)
            time.sleep(chance.uniform(0, 0.08))
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            assert not path.exists()
        web.pause = 0.0
        assert download(web.url, path).read_bytes() == DATA
        assert all(web.ranges_asked()[1:]), "the bytes of the killed ones were gone on with"


def size_of(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def test_killed_between_the_last_byte_and_the_new_name_a_rerun_needs_no_server(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.replace

    def killed(file: Path, target: Path) -> Path:
        if target == path:
            raise KeyboardInterrupt
        return rename(file, target)

    with serving(DATA, how="chunked") as web:
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", killed)
            with pytest.raises(KeyboardInterrupt):
                download(web.url, path)
        assert not path.exists()
        assert download(web.url, path).read_bytes() == DATA
        assert len(web.asked) == 1
