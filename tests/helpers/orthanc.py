"""A real Orthanc with its DICOMweb plugin, in a temporary folder and on free ports."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
import pytest

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
PROGRAMS = ("Orthanc", "storescu", "dciodvfy", "dcentvfy")
GUARD = 60.0  # seconds after which an Orthanc that does not answer fails the test


def require_orthanc() -> None:
    """Without Debian's orthanc, dcmtk and dicom3tools, CI fails and others skip."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing or not PLUGIN.exists():
        reason = (
            "needs Orthanc: apt-get install --no-install-recommends orthanc orthanc-dicomweb "
            "dcmtk dicom3tools"
        )
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@dataclass
class Orthanc:
    """One archive; `start` and `kill` as often as wanted, its folder stays."""

    folder: Path
    options: dict[str, Any] = field(default_factory=dict)
    http: int = field(default_factory=free_port)
    dicom: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http}"

    @property
    def web(self) -> str:
        return f"{self.url}/dicom-web"

    def start(self) -> "Orthanc":
        settings = {
            "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "storage"),
            "HttpPort": self.http,
            "DicomPort": self.dicom,
            "Plugins": [str(PLUGIN)],
            "AuthenticationEnabled": False,
            "StableAge": 1,
            "DicomAlwaysAllowStore": True,
            "DicomWeb": {"Enable": True},
            **self.options,
        }
        path = self.folder / "orthanc.json"
        path.write_text(json.dumps(settings))
        log = (self.folder / "orthanc.log").open("ab")
        self.process = subprocess.Popen(["Orthanc", path], stdout=log, stderr=log)
        end = time.monotonic() + GUARD
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/system", timeout=5).close()
                return self
            except urllib.error.HTTPError:  # it asks for an account
                return self
            except OSError:
                text = (self.folder / "orthanc.log").read_text()
                assert self.process.poll() is None, text
                assert time.monotonic() < end, text
                time.sleep(0.02)

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def rest(self, path: str, data: bytes | None = None, method: str | None = None) -> Any:
        asked = urllib.request.Request(self.url + path, data, method=method)
        with urllib.request.urlopen(asked, timeout=GUARD) as answer:
            return json.loads(answer.read() or b"null")

    def push(self, *files: bytes) -> None:
        """Store files over HTTP."""
        for data in files:
            self.rest("/instances", data)

    def clear(self) -> None:
        for patient in self.rest("/patients"):
            self.rest(f"/patients/{patient}", method="DELETE")

    def files(self, modality: str) -> list[bytes]:
        """Return all files of a modality, sorted by InstanceNumber."""
        query = {"Level": "Instance", "Query": {"Modality": modality}}
        ids = self.rest("/tools/find", json.dumps(query).encode())
        found = []
        for one in ids:
            with urllib.request.urlopen(f"{self.url}/instances/{one}/file") as answer:
                found.append(answer.read())
        return sorted(found, key=lambda data: int(read(data).InstanceNumber))

    def reports(self) -> list[pydicom.Dataset]:
        return [read(data) for data in self.files("SR")]


def read(data: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(pydicom.filebase.DicomBytesIO(data))


def complaints(tool: str, *files: Path) -> str:
    """Return what dciodvfy or dcentvfy says of files that are wrong; empty: nothing."""
    done = subprocess.run([tool, *files], capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stdout + done.stderr
