"""What archives answer, and what they should not."""

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from kidney.dicom.archive import FinalError, TransientError, check_stored, split_multipart
from kidney.dicom.sources import read_sources
from kidney.dicom.state import State
from tests.dicom.conftest import NORMAL, ct
from tests.helpers.dicom_files import changed
from tests.helpers.orthanc import Orthanc
from tests.helpers.upload_files import multi_frame

Make = Callable[..., Any]


def test_parts_of_a_body_come_out_as_they_went_in():
    parts = [b"DICM\r\n\r\n--not-the-end", b"", b"\r\n"]
    body = b"".join(b"--b\r\nContent-Type: application/dicom\r\n\r\n%s\r\n" % one for one in parts)
    assert split_multipart(body + b"--b--\r\n", 'multipart/related; boundary="b"') == parts
    for cut in (body, body[:20], b""):
        with pytest.raises(TransientError):
            split_multipart(cut, "multipart/related; boundary=b")
    with pytest.raises(TransientError):
        split_multipart(body, "text/html")


def test_every_failed_instance_counts():
    check_stored({"00081199": {"vr": "SQ", "Value": [{}]}})
    with pytest.raises(FinalError):
        check_stored({"0008119A": {"vr": "SQ", "Value": [{"00081197": {"Value": [272]}}]}})
    with pytest.raises(TransientError):
        check_stored([])


def test_all_pages_of_a_query_are_read(process: Make, tmp_path: Path):
    """An archive of 1,200 series, as a list: nothing of it can be fetched."""
    total, asked = 1200, []

    class Many(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            query = dict(one.split("=") for one in self.path.partition("?")[2].split("&"))
            asked.append(query)
            first = int(query["offset"])
            found = [
                {"0020000D": {"Value": ["1.2"]}, "0020000E": {"Value": [f"1.2.{number}"]},
                 "00201209": {"Value": [1]}}
                for number in range(first, min(total, first + int(query["limit"])))
            ]  # fmt: skip
            body = json.dumps(found).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Many)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    process(archive=url, stable_seconds=3600.0, study_days=2).once()
    server.shutdown()
    server.server_close()
    assert State(tmp_path / "state.sqlite").counts()["waiting"] == total
    assert {query["Modality"] for query in asked} == {"CT"}
    assert all(len(query["StudyDate"]) == len("20260101-") for query in asked)


def test_pauses_double_up_to_the_limit(orthanc: Orthanc, process: Make, tmp_path: Path):
    orthanc.push(*ct(NORMAL))
    now = [1e9]
    worker = process(
        server="http://127.0.0.1:1", retry_seconds=10.0, retry_limit_seconds=60.0,
        state=tmp_path / "clock.sqlite",
    )  # fmt: skip
    worker._state._clock = lambda: now[0]
    worker.once()
    pauses = []
    for _ in range(5):
        now[0] += 1  # the series is stable, and the pause is over
        worker.once()
        (one,) = worker._state.troubled()
        assert one.error == "server-unreachable"
        pauses.append(round(one.next_time - now[0]))
        worker.once()  # too early
        assert worker._state.troubled() == [one]
        now[0] = one.next_time
    assert pauses == [10, 20, 40, 60, 60]


def test_what_cannot_be_answered_fails_by_its_kind(orthanc: Orthanc, process: Make):
    orthanc.push(changed(multi_frame(), SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1"))
    orthanc.push(*ct(NORMAL))
    worker = process(max_slices=3)
    worker.once()
    assert {one.error for one in worker._state.troubled()} == {
        "multi-frame", "too-many-slices"
    }  # fmt: skip
    assert {one.state for one in worker._state.troubled()} == {"failed"}


def test_files_of_several_patients_are_no_series():
    files = [*ct(NORMAL, PatientID="P1"), *ct(NORMAL, PatientID="P2")]
    with pytest.raises(FinalError, match="several-patients"):
        read_sources(files)
