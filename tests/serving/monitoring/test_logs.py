import io
import json
import logging
import threading
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from kidney.artifact.predictor import Predictor
from kidney.errors import ArtifactError
from kidney.serving.app import create_app
from kidney.serving.guards.keys import entry, new_key
from kidney.serving.monitoring import logs
from kidney.serving.settings import Settings
from tests.helpers.dicom_files import changed, phantom_series
from tests.helpers.pictures import encode, gradient

API = "/api/v1/predictions"
SECRET = "Meier"  # in a file name, in DICOM, in the path, in the query and in headers
WHITE = encode(np.full((40, 50), 255, np.uint8))
Lines = Callable[[], list[dict]]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """What the server writes, as it is written; read it as often as you like."""
    root, kidney = logging.getLogger(), logging.getLogger("kidney")
    handler = logging.StreamHandler(io.StringIO())
    handler.setFormatter(logs.JsonLines())
    before = kidney.level
    kidney.setLevel(logging.INFO)
    root.addHandler(handler)
    logging.captureWarnings(True)
    yield lambda: [json.loads(line) for line in handler.stream.getvalue().splitlines()]
    logging.captureWarnings(False)
    root.removeHandler(handler)
    kidney.setLevel(before)


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    _, files = phantom_series(tmp_path_factory.mktemp("dicom"))
    person = {
        "PatientName": f"{SECRET}^Anna",
        "PatientID": f"{SECRET}-1",
        "AccessionNumber": SECRET,
    }
    whole = changed(files[0].read_bytes(), **person)
    return {
        "picture": WHITE,
        "truncated picture": WHITE[:-20],
        "empty": b"",
        "text": f"{SECRET} is no picture".encode(),
        "dicom": whole,
        "truncated dicom": whole[:-999],
        "strange dicom": changed(whole, SOPInstanceUID=SECRET, RescaleSlope=None),
    }


def test_a_request_is_one_line_that_says_what_came_of_it(model, lines):
    key = new_key()
    settings = Settings(model=model, threads=1, api_keys=(entry("viewer", key),))
    client = create_app(settings).test_client()
    before = len(lines())
    data = {"file": [(io.BytesIO(one), "x.png") for one in (WHITE, WHITE, encode(gradient()))]}
    client.post(API, data=data, headers={"X-API-Key": key, "X-Request-ID": "trace-1"})
    (line,) = lines()[before:]
    assert line.pop("time").startswith("20")
    assert line.pop("ms") > 0
    assert line == {
        "level": "info",
        "logger": "kidney.serving.request",
        "message": "request",
        "request_id": "trace-1",
        "method": "POST",
        "route": API,
        "status": 200,
        "key": "viewer",
        "slices": 3,
        "decisions": {"tumor": 2, "needs_review": 1},
    }


@pytest.mark.parametrize("fails", [False, True], ids=["it works", "the model fails"])
@pytest.mark.parametrize(
    "content",
    [
        "picture", "truncated picture", "empty", "text",
        "dicom", "truncated dicom", "strange dicom",
    ],
)  # fmt: skip
@pytest.mark.parametrize("to", [API, "/"])
def test_nothing_of_what_was_sent_is_in_the_log(
    client, lines, monkeypatch, capfd, contents, fails, content, to
):
    def fail(_: object, slices: list) -> None:
        try:
            raise ValueError(f"{SECRET} {slices}")
        except ValueError as error:
            raise RuntimeError(f"cannot read {SECRET}.dcm") from error

    if fails:
        monkeypatch.setattr(Predictor, "predict", fail)
    client.post(
        f"{to}?patient={SECRET}",
        data={"file": (io.BytesIO(contents[content]), f"{SECRET}.dcm"), SECRET: SECRET},
        headers={"User-Agent": SECRET, "Referer": f"http://localhost/{SECRET}", "X-Case": SECRET},
        environ_overrides={"REMOTE_ADDR": "10.11.12.13"},
    )
    client.get(f"/api/v1/{SECRET}?{SECRET}={SECRET}", headers={"X-Request-ID": f"<{SECRET}>"})
    written = json.dumps(lines()) + "".join(capfd.readouterr())
    assert SECRET.lower() not in written.lower()
    assert "10.11.12.13" not in written
    assert len([line for line in lines() if line["message"] == "request"]) == 2


def test_a_failure_says_where_and_not_with_what(send, lines, monkeypatch):
    def fail(*_: object) -> None:
        raise RuntimeError(f"of {SECRET}")

    monkeypatch.setattr(Predictor, "predict", fail)
    assert send(WHITE, headers={"X-Request-ID": "trace-2"}).status_code == 500
    failure, request = lines()[-2:]
    assert failure["level"] == "error"
    assert API not in failure["message"]  # a path may hold a name
    assert failure["request_id"] == request["request_id"] == "trace-2"
    assert failure["error"]["type"] == "RuntimeError"
    assert failure["error"]["trace"][-1].endswith(" fail")
    assert any(
        "kidney/serving/inference/engine.py:" in frame for frame in failure["error"]["trace"]
    )
    assert SECRET not in str(failure)


def test_what_is_said_of_the_server_itself_is_told(lines):
    try:
        raise ArtifactError("Expected a model, but there is none.", "Export one.")
    except ArtifactError:
        logging.getLogger("kidney.serving").exception("The model stays.")
    line = lines()[-1]
    assert line["message"] == "The model stays."
    assert "Expected a model" in line["error"]["message"]


def test_a_cause_is_told_like_its_effect(lines):
    try:
        try:
            raise KeyError(SECRET)
        except KeyError as error:
            raise ValueError(SECRET) from error
    except ValueError:
        logging.getLogger("kidney").exception("It failed.")
    error = lines()[-1]["error"]
    assert (error["type"], error["cause"]["type"]) == ("ValueError", "KeyError")
    assert SECRET not in str(error)


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (("Error handling request %s %s", "GET", f"/{SECRET}"), "Error handling request"),
        (
            (f"Invalid request from ip=10.0.0.1: Invalid header '{SECRET}'",),
            "Invalid request from ip",
        ),
        (("%s", SECRET), "(withheld: it may quote a request)"),
        (("Worker (pid:%s) was sent %s!", 7, "SIGKILL"), "Worker (pid:7) was sent SIGKILL!"),
        (("Connection in use: %s", "('127.0.0.1', 8)"), "Connection in use: ('127.0.0.1', 8)"),
    ],
)
def test_gunicorn_speaks_of_itself_and_not_of_requests(message, told):
    record = logging.LogRecord(
        "gunicorn.error", 40, "glogging.py", 1, message[0], message[1:], None
    )
    assert json.loads(logs.JsonLines().format(record))["message"] == told


def test_other_libraries_and_warnings_only_tell_where(lines):
    logging.getLogger("somebody.else").error("Value %s is odd", SECRET)
    warnings.warn(f"{SECRET} is odd", UserWarning, stacklevel=1)
    one, other = lines()[-2:]
    assert one["message"] == f"test_logs.py:{one['message'].split(':')[1].split()[0]} " + (
        "(withheld: it may quote a request)"
    )
    assert other["logger"] == "py.warnings"
    assert SECRET not in str((one, other))


def test_a_thread_that_dies_is_a_line_too(lines, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", logs._thread_failed)

    def fail() -> None:
        raise RuntimeError(SECRET)

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    line = lines()[-1]
    assert (line["message"], line["error"]["type"]) == ("A thread failed.", "RuntimeError")
    assert SECRET not in str(line)
