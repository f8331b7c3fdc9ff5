"""A real Orthanc, a real HTTP server, and processes that are killed."""

import io
import json
import logging
import multiprocessing
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless

from tests.dicom.conftest import NORMAL, TUMOUR, UNSURE, ct
from tests.helpers.dicom_files import changed, compressed
from tests.helpers.orthanc import Orthanc, complaints, read
from tests.helpers.server_process import ROOT, Server, wait_until
from tests.helpers.waiting import GUARD

Make = Callable[..., Any]
STEPS = ("fetched", "answered", "built", "stored beside", "stored")


def rows(folder: Path) -> list[tuple[Any, ...]]:
    with sqlite3.connect(folder / "state.sqlite") as opened:
        return opened.execute("SELECT state, attempts, error FROM series").fetchall()


def test_a_series_sent_by_storescu_gets_one_valid_report(
    orthanc: Orthanc, process: Make, tmp_path: Path
):
    files = ct(TUMOUR)
    paths = [tmp_path / f"{number}.dcm" for number in range(len(files))]
    for path, data in zip(paths, files, strict=True):
        path.write_bytes(data)
    subprocess.run(["storescu", "localhost", str(orthanc.dicom), *paths], check=True)
    process().once()
    process().once()
    (report,) = orthanc.reports()
    assert report.StudyInstanceUID == read(files[0]).StudyInstanceUID
    assert report.PreliminaryFlag == "PRELIMINARY"
    (data,) = orthanc.files("SR")
    paths.append(tmp_path / "report.dcm")
    paths[-1].write_bytes(data)
    assert complaints("dciodvfy", paths[-1]) == ""
    assert complaints("dcentvfy", *paths) == ""


def killed_at(make: Make, step: str, settings: dict[str, object]) -> None:
    """Run a process that is killed when it reached a step."""

    def reached(name: str) -> None:
        if name == step:
            os.kill(os.getpid(), signal.SIGKILL)

    child = multiprocessing.get_context("fork").Process(
        target=lambda: make(reached, **settings).once()
    )
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL, step


@pytest.mark.parametrize("lost", [False, True], ids=["state kept", "state lost"])
def test_killed_at_any_step_there_is_one_report(
    lost: bool, orthanc: Orthanc, process: Make, tmp_path: Path
):
    orthanc.push(*ct(TUMOUR))
    both: dict[str, object] = {"captures": True, "segmentation": True}
    for number, step in enumerate(STEPS):
        state = tmp_path / (f"{number}.sqlite" if lost else "state.sqlite")
        killed_at(process, step, {**both, "state": state})
    process(**both).once()
    assert len(orthanc.files("SR")) == 1
    assert len(orthanc.files("OT")) == 2
    assert len(orthanc.files("SEG")) == 1
    assert rows(tmp_path) == [("done", 0, "")]


def test_two_processes_at_once_make_one_report(orthanc: Orthanc, process: Make, tmp_path: Path):
    orthanc.push(*ct(UNSURE))
    both = threading.Barrier(2)

    def reached(step: str) -> None:
        if step == "built":
            both.wait(GUARD)

    def work(name: str) -> None:
        process(reached, state=tmp_path / name).once()

    threads = [threading.Thread(target=work, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(orthanc.reports()) == 1


def test_an_archive_that_was_killed_is_answered_after_its_return(
    orthanc: Orthanc, process: Make, tmp_path: Path
):
    files = ct(NORMAL)
    worker = process()
    orthanc.push(*files[:2])
    orthanc.kill()  # before it could call the series stable
    worker.once()
    orthanc.start().push(*files[2:])
    orthanc.kill()
    orthanc.start()

    def kill(step: str) -> None:
        if step == "built" and not killed:
            killed.append(step)
            orthanc.kill()

    killed: list[str] = []
    worker = process(kill)
    worker.once()
    assert rows(tmp_path) == [("waiting", 1, "archive-unreachable")]
    orthanc.start()
    worker.once()
    (report,) = orthanc.reports()
    (series,) = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert len(series.ReferencedSOPSequence) == len(files)


def test_a_series_is_not_fetched_while_it_grows(orthanc: Orthanc, process: Make):
    fetched: list[str] = []
    worker = process(fetched.append, stable_seconds=3600.0)
    orthanc.push(*ct(NORMAL))
    worker.once()
    worker.once()
    assert fetched == []


def test_late_slices_make_a_report_that_names_the_one_before(
    orthanc: Orthanc, process: Make, tmp_path: Path
):
    files = ct(TUMOUR)
    worker = process()
    orthanc.push(*files[:3])
    worker.once()
    (first,) = orthanc.reports()
    orthanc.push(files[3])
    worker.once()
    first, second = orthanc.reports()
    assert "PredecessorDocumentsSequence" not in first
    (study,) = second.PredecessorDocumentsSequence
    (named,) = study.ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert named.ReferencedSOPInstanceUID == first.SOPInstanceUID
    assert second.SeriesInstanceUID == first.SeriesInstanceUID
    path = tmp_path / "second.dcm"
    path.write_bytes(orthanc.files("SR")[1])
    assert complaints("dciodvfy", path) == ""

    orthanc.push(*files)  # the same once more
    worker.once()
    assert len(orthanc.reports()) == 2


def test_own_results_are_no_work(orthanc: Orthanc, process: Make, tmp_path: Path):
    orthanc.push(*ct(TUMOUR))
    worker = process(captures=True, segmentation=True)
    for _ in range(3):
        worker.once()
    assert rows(tmp_path) == [("done", 0, "")]
    assert len(orthanc.rest("/series")) == 4


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless])
def test_compressed_slices_are_answered(syntax: Any, orthanc: Orthanc, process: Make):
    orthanc.push(*[compressed(data, syntax) for data in ct(NORMAL)])
    process().once()
    assert len(orthanc.reports()) == 1


def test_what_the_server_refuses_fails_with_its_reason(
    orthanc: Orthanc, process: Make, tmp_path: Path
):
    for data in ct(NORMAL):
        dataset = read(data)
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        path = tmp_path / "deflated.dcm"
        dataset.save_as(path, enforce_file_format=True)
        orthanc.push(path.read_bytes())
    worker = process()
    worker.once()
    worker.once()
    assert rows(tmp_path) == [("failed", 0, "image-type")]
    assert orthanc.reports() == []

    environment = os.environ | {
        "KIDNEY_DICOM_STATE": str(tmp_path / "state.sqlite"), "KIDNEY_DICOM_ARCHIVE": orthanc.web
    }  # fmt: skip

    def command(*words: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "kidney.dicom", *words],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip

    head, line = command("failed").splitlines()
    uid = read(data).SeriesInstanceUID
    assert line.split("\t") == [uid, "failed", "0", "-", "image-type"]
    assert len(head.split("\t")) == 5
    assert command("retry", uid) == command("retry", "all").replace("0 ", "1 ")
    worker.once()
    assert rows(tmp_path) == [("failed", 0, "image-type")]


def test_a_localizer_is_passed_over(orthanc: Orthanc, process: Make, tmp_path: Path):
    orthanc.push(*ct([0], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]))
    process().once()
    assert rows(tmp_path) == [("skipped", 0, "localizer")]


class _Archive(BaseHTTPRequestHandler):
    """Passes requests on to an Orthanc, but for STOW, which it answers itself."""

    target, status, body = "", 200, b""

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        import requests

        answer = requests.get(self.target + self.path, headers={"Accept": self.headers["Accept"]})
        self.answer(answer.status_code, answer.content, answer.headers.get("Content-Type", ""))

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(self.status, self.body, "application/dicom+json")

    def answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _failures(reason: int) -> bytes:
    failed = {"00081197": {"vr": "US", "Value": [reason]}}
    return json.dumps({"00081198": {"vr": "SQ", "Value": [failed]}}).encode()


@pytest.mark.parametrize(
    ("status", "body", "state", "error"),
    [
        (400, b"", "failed", "archive-store-400"),
        (409, _failures(0x0110), "failed", "archive-store-409"),
        (200, _failures(0x0110), "failed", "archive-store-failed"),
        (202, _failures(0xA700), "waiting", "archive-store-full"),
        (503, b"", "waiting", "archive-store-503"),
        (200, b"{}", "waiting", "archive-store-missing"),
    ],
)
def test_a_result_that_was_not_stored_is_not_done(
    status: int, body: bytes, state: str, error: str, orthanc: Orthanc, process: Make,
    tmp_path: Path,
):  # fmt: skip
    orthanc.push(*ct(NORMAL))
    handler = type("Archive", (_Archive,), {"target": orthanc.url, "status": status, "body": body})
    between = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=between.serve_forever, args=(0.01,), daemon=True).start()
    process(archive=f"http://127.0.0.1:{between.server_port}/dicom-web").once()
    between.shutdown()
    between.server_close()
    assert rows(tmp_path) == [(state, int(state == "waiting"), error)]


SEEDED = {  # keyword -> its VR and a text of a patient, which most of these VRs do not allow
    "PatientName": ("PN", "Xylophon"), "PatientID": ("LO", "Quetzal7"),
    "PatientBirthDate": ("DA", "Zwiebeltag"), "AccessionNumber": ("SH", "Marzipan"),
    "StudyID": ("SH", "Kolibri"), "StudyDate": ("DA", "Pfingsten"),
    "StudyTime": ("TM", "Mitternacht"),
    "FrameOfReferenceUID": ("UI", "Rhabarber"), "SliceThickness": ("DS", "Dudelsack"),
    "ReferringPhysicianName": ("PN", "Butterblume"), "SeriesDescription": ("LO", "Haselnuss"),
}  # fmt: skip


def seeded(data: bytes) -> bytes:
    """Return the file with the texts of SEEDED."""
    dataset = read(data)
    for keyword, (_, text) in SEEDED.items():
        dataset.add_new(keyword, "LO", text)  # which may be any text
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    found = buffer.getvalue()
    for keyword, (vr, _) in SEEDED.items():
        tag = dataset[keyword].tag
        head = tag.group.to_bytes(2, "little") + tag.element.to_bytes(2, "little")
        found = found.replace(head + b"LO", head + vr.encode(), 1)
    return found


def test_nothing_of_a_patient_is_logged_kept_or_counted(
    orthanc: Orthanc, process: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    from kidney.serving.monitoring.logs import configure

    orthanc.push(*[seeded(data) for data in ct(TUMOUR)])
    bad = "Erdbeere"
    orthanc.push(changed(ct([0])[0], SeriesInstanceUID=bad, PatientID="Quetzal8"))
    before = logging.root.handlers[:], logging.root.level
    try:
        configure()
        registry = CollectorRegistry()
        process(registry=registry, captures=True, segmentation=True).once()
        metrics = generate_latest(registry).decode()
    finally:
        logging.captureWarnings(False)
        logging.root.handlers[:], logging.root.level = before
    said = capfd.readouterr()
    text = said.out + said.err + metrics
    assert "answered" in text
    assert sorted(rows(tmp_path)) == [("done", 0, ""), ("failed", 0, "uid")]
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("state.sqlite*"))
    for word in (*(text for _, text in SEEDED.values()), bad, "Quetzal8"):
        assert word not in text, word
        assert word.encode() not in kept, word
    (report,) = orthanc.reports()
    assert report.PatientName == SEEDED["PatientName"][1]
    assert report.PatientID == SEEDED["PatientID"][1]


def test_it_runs_counts_and_ends_gracefully(orthanc: Orthanc, server: Server, tmp_path: Path):
    from tests.helpers.orthanc import free_port

    port = free_port()
    orthanc.push(*ct(NORMAL))
    environment = {name: value for name, value in os.environ.items() if "KIDNEY_" not in name}
    settings = {
        "archive": orthanc.web, "server": f"http://{server.address}", "metrics_port": port,
        "state": tmp_path / "state.sqlite", "stable_seconds": 0.01, "poll_seconds": 0.05,
    }  # fmt: skip
    environment |= {f"KIDNEY_DICOM_{name.upper()}": str(value) for name, value in settings.items()}
    log = (tmp_path / "log").open("w+")
    running = subprocess.Popen(
        [sys.executable, "-m", "kidney.dicom"], cwd=ROOT, env=environment, stderr=log
    )
    try:
        wait_until(lambda: running.poll() is not None or orthanc.files("SR"))

        def counted() -> str:
            import urllib.request

            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
                return str(answer.read().decode())

        wait_until(lambda: 'kidney_dicom_series{state="done"} 1.0' in counted())
        running.send_signal(signal.SIGTERM)
        assert running.wait(GUARD) == 0
    finally:
        running.kill()
        running.wait()
    log.seek(0)
    lines = [json.loads(line) for line in log]
    log.close()
    assert [line["message"] for line in lines] == ["started", "answered", "stopped"]
    assert re.fullmatch("[0-9.]+", lines[1]["series"])
    assert lines[1]["decision"] == "normal"
