"""A model has its name only once every check has passed, wherever it comes from."""

import base64
import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kidney.errors import ArtifactError, ConfigError, DataError, KidneyError
from kidney.files import sha256 as sha256_of
from kidney.remote import http, object_store
from kidney.remote.fetch_model import expected_sha256, fetch_model
from tests.helpers.api_keys import make_key, sign
from tests.helpers.s3_server import s3_server
from tests.helpers.tiny_model import CARD, write_tiny_model
from tests.helpers.web import serving

ROOT = Path(__file__).parents[2]
OTHER_HASH = "0" * 64


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_WAITS", (0.0, 0.0, 0.0))
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    for name in ("MLFLOW_TRACKING_URI", "KIDNEY_PUBLIC_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "publisher").mkdir()
    return write_tiny_model(tmp_path / "publisher" / "kidney.onnx")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "here" / "kidney.onnx"


@pytest.fixture
def key(model: Path) -> Path:
    """The public key of the publisher, whose private key lies beside the model."""
    return make_key(model.with_name("key.pem"))


def signature_of(model: Path) -> bytes:
    return base64.b64encode(sign(model, model.with_name("key.pem")))


def files(out: Path) -> list[str]:
    return sorted(file.name for file in out.parent.iterdir()) if out.parent.exists() else []


def refused(reference: str, out: Path, **settings: Any) -> KidneyError:
    with pytest.raises(KidneyError) as caught:
        fetch_model(reference, out, **settings)
    assert not out.exists(), "only a file that passed every check has the name"
    assert caught.value.remedy
    return caught.value


def test_a_model_comes_from_the_web(model: Path, out: Path):
    messages: list[str] = []
    progress: list[tuple[int, int | None]] = []
    with serving(model.read_bytes(), beside={}) as web:
        done = fetch_model(
            web.url,
            out,
            sha256=sha256_of(model).upper(),
            progress=lambda *step: progress.append(step),
            log=messages.append,
        )
    assert done == out
    assert out.read_bytes() == model.read_bytes()
    assert files(out) == ["kidney.onnx"]
    assert progress[-1] == (model.stat().st_size, model.stat().st_size)
    assert len(messages) == 1
    assert messages[0].startswith(f"{out}: SHA-256 {sha256_of(model)}, as given; no public key")


def test_a_model_comes_from_a_hub(model: Path, out: Path, monkeypatch):
    with serving(model.read_bytes(), beside={}) as web:
        monkeypatch.setenv("HF_ENDPOINT", web.url.removesuffix("/set.zip"))
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        web.redirects["/us/kidney/resolve/v1/kidney.onnx"] = "/set.zip"  # as the hub's store
        fetch_model("hf://us/kidney@v1", out)
        assert web.asked[0]["Authorization"] == "Bearer hf_secret"
        assert "main" in refused("hf://us/kidney", out.with_name("other.onnx")).problem
    assert out.read_bytes() == model.read_bytes()
    assert "hf://OWNER/NAME" in refused("hf://kidney", out.with_name("other.onnx")).problem


def test_the_hash_beside_the_file_is_heeded(model: Path, out: Path):
    messages: list[str] = []
    line = f"{sha256_of(model)}  kidney.onnx\n".encode()
    with serving(model.read_bytes(), beside={"/set.zip.sha256": line}) as web:
        fetch_model(web.url, out, log=messages.append)
        assert "as the .sha256 beside it says" in messages[0]
        web.beside = {"/set.zip.sha256": OTHER_HASH.encode()}
        other = out.with_name("other.onnx")
        assert OTHER_HASH in refused(web.url, other).problem
        web.beside = {"/set.zip.sha256": b"<html>There is no such page.</html>"}
        fetch_model(web.url, other, log=messages.append)
        assert "NOT VERIFIED" in messages[1]


def test_a_file_of_another_hash_does_not_get_the_name(model: Path, out: Path):
    with serving(model.read_bytes(), beside={}) as web:
        assert OTHER_HASH in refused(web.url, out, sha256=OTHER_HASH).problem
        refused(web.url, out, sha256="abc")
    assert OTHER_HASH in refused(str(model), out, sha256=OTHER_HASH).problem
    assert files(out) == []


@pytest.mark.parametrize("data", [b"<html>Sign in first.</html>", b"", b"half"])
def test_what_is_no_model_does_not_get_the_name(model: Path, out: Path, data: bytes):
    foreign = model.read_bytes()[:-500] if data == b"half" else data
    with serving(foreign, beside={}) as web:
        error = refused(web.url, out)
    assert isinstance(error, ArtifactError)
    assert f"{web.url} is refused and was removed" in error.problem
    assert files(out) == []


def test_a_model_that_is_there_stays_where_the_new_one_is_refused(model: Path, out: Path):
    fetch_model(str(model), out)
    with serving(b"no model", beside={}) as web, pytest.raises(ArtifactError):
        fetch_model(web.url, out)
    assert out.read_bytes() == model.read_bytes()
    assert files(out) == ["kidney.onnx"]


def test_a_model_of_the_right_hash_is_not_fetched_again(model: Path, out: Path):
    with serving(model.read_bytes(), beside={}) as web:
        for _ in range(2):
            fetch_model(web.url, out, sha256=sha256_of(model))
        assert len(web.asked) == 1
        out.write_bytes(b"damaged")
        fetch_model(web.url, out, sha256=sha256_of(model))
        assert len(web.asked) == 2
    assert out.read_bytes() == model.read_bytes()


def test_what_hash_it_has_by_now_is_asked_without_fetching(model: Path):
    line = f"{sha256_of(model)}  kidney.onnx\n".encode()
    with serving(model.read_bytes(), beside={"/set.zip.sha256": line}) as web:
        assert expected_sha256(web.url) == sha256_of(model)
        assert [asked["path"] for asked in web.asked] == ["/set.zip.sha256"]
        web.beside = {}
        assert expected_sha256(web.url) is None
        assert expected_sha256(web.url, OTHER_HASH) == OTHER_HASH
    with pytest.raises(ConfigError):
        expected_sha256("no model")


def test_a_signed_model_passes(model: Path, out: Path, key: Path, monkeypatch: pytest.MonkeyPatch):
    messages: list[str] = []
    with serving(model.read_bytes(), beside={"/set.zip.sig": signature_of(model)}) as web:
        fetch_model(web.url, out, public_key=key, log=messages.append)
        out.unlink()
        monkeypatch.setenv("KIDNEY_PUBLIC_KEY", str(key))
        fetch_model(web.url, out, log=messages.append)
    assert out.read_bytes() == model.read_bytes()
    assert all("signature verified" in text for text in messages)


def test_a_signature_may_lie_elsewhere(model: Path, out: Path, key: Path):
    file = model.with_name("by-mail.sig")
    file.write_bytes(signature_of(model))
    fetch_model(str(model), out, public_key=key, signature=file)
    assert out.exists()
    other = out.with_name("other.onnx")
    assert (
        "none.sig"
        in refused(str(model), other, public_key=key, signature=model.with_name("none.sig")).problem
    )
    assert "public key beside the signature" in refused(str(model), other, signature=file).problem


@pytest.mark.parametrize("how", ["missing", "tampered", "another key", "no signature"])
def test_what_the_key_does_not_vouch_for_is_refused(model: Path, out: Path, key: Path, how: str):
    signature = signature_of(model)
    if how == "tampered":  # by someone who keeps card and seal in order
        write_tiny_model(model, card=dataclasses.replace(CARD, limits="None at all."))
    elif how == "another key":
        key = make_key(model.with_name("other.pem"))
    elif how == "no signature":
        signature = b"bm9uZQ=="
    beside = {} if how == "missing" else {"/set.zip.sig": signature}
    with serving(model.read_bytes(), beside=beside) as web:
        error = refused(web.url, out, public_key=key)
        assert (how == "missing") == ("there is none" in error.problem)
        # What was fetched before without a key is not taken for accepted either.
        fetch_model(web.url, out, sha256=sha256_of(model))
        if how != "missing":
            refused(web.url, out, sha256=sha256_of(model), public_key=key)
            assert files(out) == []


def test_a_server_that_fails_at_the_signature_is_reported_as_such(out: Path, key: Path):
    with serving(b"sorry", statuses=[500]) as web:
        error = refused(web.url, out, public_key=key)
    assert "the signature of" in error.problem
    assert "HTTP 500" in error.problem
    assert "What is not signed is refused" in error.remedy


def test_a_public_key_that_cannot_be_read_is_reported_before_anything_is_fetched(
    model: Path, out: Path, tmp_path: Path
):
    with serving(model.read_bytes(), beside={}) as web:
        assert "nokey.pub" in refused(web.url, out, public_key=tmp_path / "nokey.pub").problem
        assert web.asked == []


@pytest.mark.parametrize(
    ("reference", "settings", "problem"),
    [
        ("kidney.onnx", {}, "NAME@ALIAS"),
        ("ftp://host/kidney.onnx", {}, "NAME@ALIAS"),
        ("s3://bucket", {}, "s3://BUCKET/KEY"),
        ("kidney@champion", {}, "http\\(s\\) address of an MLflow server"),
        ("kidney@champion", {"tracking": "sqlite:///mlflow.db"}, "sqlite:///mlflow.db"),
        ("https://host/kidney.onnx", {"precision": "int8"}, "registered model to take int8 of"),
    ],
)
def test_what_names_no_model_is_reported(
    out: Path, reference: str, settings: dict[str, Any], problem: str
):
    with pytest.raises((ConfigError, DataError), match=problem):
        fetch_model(reference, out, **settings)
    assert files(out) == []


def test_a_name_that_cannot_be_written_is_reported(model: Path, out: Path):
    out.mkdir(parents=True)
    with pytest.raises(DataError, match="Expected to write"):
        fetch_model(str(model), out)
    with pytest.raises(DataError, match="Expected to write"):
        fetch_model(str(model), model / "kidney.onnx")


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    with s3_server("models") as client:
        yield client


def test_a_model_comes_from_s3_with_its_signature_and_hash(
    s3: Any, model: Path, out: Path, key: Path
):
    messages: list[str] = []
    s3.put_object(Bucket="models", Key="a b/kidney.onnx", Body=model.read_bytes())
    s3.put_object(Bucket="models", Key="a b/kidney.onnx.sig", Body=signature_of(model))
    fetch_model("s3://models/a b/kidney.onnx", out, public_key=key, log=messages.append)
    s3.put_object(Bucket="models", Key="a b/kidney.onnx.sha256", Body=sha256_of(model).encode())
    fetch_model("s3://models/a b/kidney.onnx", out, public_key=key, log=messages.append)
    assert out.read_bytes() == model.read_bytes()
    assert ["NOT VERIFIED" in text for text in messages] == [True, False]
    assert files(out) == ["kidney.onnx"]


def test_what_s3_does_not_give_is_reported(
    s3: Any, model: Path, out: Path, key: Path, monkeypatch: pytest.MonkeyPatch
):
    assert (
        "s3://models/none.onnx was refused: HTTP 404"
        in refused("s3://models/none.onnx", out).problem
    )
    s3.put_object(Bucket="models", Key="unsigned.onnx", Body=model.read_bytes())
    error = refused("s3://models/unsigned.onnx", out, public_key=key)
    assert "s3://models/unsigned.onnx.sig" in error.problem
    object_store._connect.cache_clear()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "no address")
    assert "AWS_ENDPOINT_URL" in refused("s3://models/unsigned.onnx", out).remedy
    object_store._connect.cache_clear()
    monkeypatch.setitem(sys.modules, "pyarrow.fs", None)
    assert "[s3]" in refused("s3://models/unsigned.onnx", out).remedy


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "scripts" / "fetch_model.py", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_command_fetches_and_says_how_it_checked(model: Path, out: Path, key: Path):
    model.with_name("kidney.onnx.sig").write_bytes(signature_of(model))
    done = command(model, "--out", out, "--sha256", sha256_of(model), "--public-key", key)
    assert done.returncode == 0, done.stderr
    assert out.read_bytes() == model.read_bytes()
    assert "as given; signature verified" in done.stderr
    assert "MiB" not in done.stderr, "progress is for terminals"


def test_the_command_says_what_to_do_where_it_fails(model: Path, out: Path):
    done = command(model, "--out", out, "--sha256", OTHER_HASH)
    assert done.returncode == 2
    assert done.stderr.startswith("fetch_model.py: Expected")
    assert "What to do" in done.stderr
    assert "Traceback" not in done.stderr
    assert not out.exists()


def test_a_server_that_fetches_needs_none_of_the_heavy_libraries():
    code = (
        "import sys, kidney.remote.fetch_model\n"
        "heavy = {'torch', 'mlflow', 'pandas', 'pyarrow', 'cryptography'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
