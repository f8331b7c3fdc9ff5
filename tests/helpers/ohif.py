"""OHIF's built viewer from npm, served over an Orthanc's DICOMweb."""

import http.client
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

PACKAGE = "@ohif/app@3.13.2"
_CONFIG = b"""window.config = {
  routerBasename: '/', showStudyList: true, extensions: [], modes: [],
  defaultDataSourceName: 'dicomweb',
  dataSources: [{
    namespace: '@ohif/extension-default.dataSourcesModule.dicomweb', sourceName: 'dicomweb',
    configuration: {
      friendlyName: 'Orthanc', name: 'orthanc', wadoUriRoot: '/dicom-web', qidoRoot: '/dicom-web',
      wadoRoot: '/dicom-web', qidoSupportsIncludeField: false, imageRendering: 'wadors',
      thumbnailRendering: 'wadors', enableStudyLazyLoad: true, supportsFuzzyMatching: false,
      supportsWildcard: true, omitQuotationForMultipartRequest: true,
    },
  }],
};
"""


def unpack_ohif(folder: Path) -> Path:
    """Download the viewer into a folder and return where its pages lie; skip without npm."""
    if not shutil.which("npm"):
        pytest.skip("npm is not installed")
    packed = subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=folder, capture_output=True)
    if packed.returncode:
        pytest.skip(f"npm does not serve {PACKAGE}")
    (archive,) = folder.glob("*.tgz")
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    return folder / "package" / "dist"


@contextmanager
def viewer(pages: Path, orthanc_port: int) -> Iterator[str]:
    """Serve the viewer and, below /dicom-web, the archive; yield the address."""

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(pages))

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path.startswith("/dicom-web"):
                client = http.client.HTTPConnection("127.0.0.1", orthanc_port)
                asked = {"Accept": self.headers.get("Accept", "*/*"), "Host": self.headers["Host"]}
                client.request("GET", self.path, headers=asked)
                answer = client.getresponse()
                kind = answer.headers.get("Content-Type", "")
                self.answer(answer.status, answer.read(), kind)
            elif path == "/app-config.js":
                self.answer(200, _CONFIG, "text/javascript")
            elif (pages / path[1:]).is_file():
                super().do_GET()
            else:  # a page of the single-page application
                self.answer(200, (pages / "index.html").read_bytes(), "text/html")

        def answer(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
