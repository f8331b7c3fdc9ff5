"""docs/pacs.md and the gateway of deploy/, on real programs."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest

from kidney.dicom.settings import PREFIX, Settings, from_environment
from kidney.errors import ConfigError
from tests.dicom.conftest import NORMAL, ct
from tests.helpers.doc_pages import ROOT, table
from tests.helpers.orthanc import PLUGIN, Orthanc, read, require_orthanc
from tests.helpers.server_process import Server, wait_until
from tests.helpers.shell_blocks import shell_lines

PAGE = ROOT / "docs" / "pacs.md"
LINES = shell_lines(PAGE)


def commands(program: str) -> list[str]:
    found = [line for line in LINES if program in shlex.split(line)]
    assert found, program
    return found


def test_the_table_of_settings_has_every_variable_and_its_default():
    said = {row[0].strip("`"): row[1].strip("`") for row in table("docs/pacs.md", "Settings")}
    assert list(said) == [PREFIX + field.name.upper() for field in fields(Settings)]
    assert from_environment(said) == Settings()


def test_the_table_of_metrics_has_every_one():
    from kidney.dicom.process import Metrics

    registry = CollectorRegistry()
    metrics = Metrics(registry)
    metrics.results.labels("normal").inc()
    metrics.errors.labels("uid").inc()
    told = re.findall(r"^# TYPE (\w+) \w+$", generate_latest(registry).decode(), re.M)
    there = {name for name in told if not name.endswith("_created")}
    assert {row[0].strip("`") for row in table("docs/pacs.md", "Metrics")} == there


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ARCHIVE", "ftp://pacs"), ("ARCHIVE", "http://user:word@pacs"), ("POLL_SECONDS", "0"),
        ("CAPTURES", "perhaps"), ("METRICS_PORT", "70000"),
    ],
)  # fmt: skip
def test_a_setting_that_cannot_work_is_named(name: str, text: str):
    with pytest.raises(ConfigError, match=f"KIDNEY_DICOM_{name}"):
        from_environment({f"KIDNEY_DICOM_{name}": text})


def test_it_needs_no_torch_and_the_base_needs_no_highdicom():
    program = (
        "import sys, kidney.dicom.process, kidney.dicom.report, kidney.dicom.pictures;"
        "print(sorted({'torch', 'pandas', 'scipy', 'hydra'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
    program = (
        "import sys, kidney.serving.app, kidney.serving.process.run;"
        "print('highdicom' in sys.modules, any(name.startswith('kidney.dicom') "
        "for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "False False", done.stderr


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with deploy/ and a series, in which the commands of the page are run."""
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    (tmp_path / "series").mkdir()
    for number, data in enumerate(ct(NORMAL)[:2], start=1):
        (tmp_path / "series" / f"slice-{number:03d}.dcm").write_bytes(data)
    return tmp_path


def options(folder: Path, **values: object) -> dict[str, Any]:
    """Return deploy/gateway.json as the container sees it, with the places of this machine."""
    text = (folder / "deploy/gateway.json").read_text("utf-8")
    text = text.replace("/run/secrets", str(folder / "deploy/certificates"))
    text = text.replace("/etc/orthanc/gateway.lua", str(folder / "deploy/gateway.lua"))
    found: dict[str, Any] = json.loads(text)
    for each in ("StorageDirectory", "IndexDirectory"):
        found[each] = str(folder / "storage")
    return found | {"Plugins": [str(PLUGIN)], "DicomAlwaysAllowMove": False, **values}


@pytest.fixture
def stopped() -> Iterator[list[Orthanc]]:
    started: list[Orthanc] = []
    yield started
    for one in started:
        one.kill()


def test_the_route_from_the_scanner_through_the_gateway_to_the_pacs(
    checkout: Path, stopped: list[Orthanc], server: Server, process: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    require_orthanc()
    for line in [*commands("mkdir"), *commands("openssl"), *commands("cp")]:
        subprocess.run(shlex.split(line), cwd=checkout, check=True, capture_output=True)
    monkeypatch.setenv("GATEWAY_PASSWORD", "a-password-of-the-tests")
    places = {name: checkout / name for name in ("gateway", "pacs")}
    for place in places.values():
        place.mkdir()
    certificates = checkout / "deploy/certificates"
    pacs = Orthanc(
        places["pacs"],
        {
            "DicomAet": "PACS", "DicomTlsEnabled": True,
            "DicomTlsCertificate": str(checkout / "scanner.crt"),
            "DicomTlsPrivateKey": str(checkout / "scanner.key"),
            "DicomTlsTrustedCertificates": str(certificates / "gateway.crt"),
        },
    )  # fmt: skip
    gateway = Orthanc(places["gateway"])
    modalities = options(checkout)["DicomModalities"]
    modalities["scanner"]["Host"] = modalities["pacs"]["Host"] = "127.0.0.1"
    modalities["pacs"]["Port"] = pacs.dicom
    gateway.options = options(
        checkout, HttpPort=gateway.http, DicomPort=gateway.dicom, DicomModalities=modalities
    )
    for one in (pacs, gateway):
        stopped.append(one)
        one.start()

    (send,) = commands("storescu")
    words = shlex.split(send.replace(" 4242 ", f" {gateway.dicom} "))

    def sent(words: list[str]) -> int:
        return subprocess.run(words, cwd=checkout, capture_output=True).returncode

    foreign = [word.replace("SCANNER", "NOBODY") for word in words]
    assert sent(foreign) != 0
    assert sent([word.replace("KIDNEY", "OTHER") for word in words]) != 0
    assert sent([words[0], *words[words.index("--aetitle") :]]) != 0  # without TLS
    assert sent(words) == 0

    account = {"archive_user": "kidney", "archive_password": "a-password-of-the-tests"}
    settings = {"archive": gateway.web, "server": f"http://{server.address}"}
    process(**settings, **account, captures=True).once()
    wait_until(lambda: pacs.files("SR") and len(pacs.files("OT")) == 2)
    assert pacs.files("CT") == []
    report = read(pacs.files("SR")[0])
    assert report.StudyInstanceUID == read(next((checkout / "series").iterdir()).read_bytes()).get(
        "StudyInstanceUID"
    )
    registry = CollectorRegistry()
    process(registry=registry, **settings).once()  # without an account
    assert 'kidney_dicom_errors_total{kind="archive-query-401"} 1.0' in (
        generate_latest(registry).decode()
    )


def test_the_commands_of_the_page_run(checkout: Path, tmp_path: Path):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ran = 0
    for line in LINES:
        words = shlex.split(line)
        if words[:3] == ["python", "-m", "kidney.dicom"] and words[-1] != "kidney.dicom":
            done = subprocess.run(
                [sys.executable, *words[1:]], cwd=tmp_path, env=environment, capture_output=True,
                text=True,
            )  # fmt: skip
            unknown = words[-1][:1].isdigit()
            assert done.returncode == (2 if unknown else 0), done.stderr
            assert ("Take it from `kidney dicom failed`" in done.stderr) == unknown
            ran += 1
    assert ran == 3
    (docker,) = commands("docker")
    words = shlex.split(docker)
    files = [words[at + 1] for at, word in enumerate(words) if word == "--file"]
    services: dict[str, Any] = {}
    for file in files:
        services |= yaml.safe_load((checkout / file).read_text("utf-8"))["services"]
    assert set(words[words.index("--build") + 1 :]) <= set(services)


def test_the_stack_opens_one_port_on_purpose():
    text = (ROOT / "deploy/compose.pacs.yaml").read_text("utf-8")
    services = yaml.safe_load(text)["services"]
    ports = {name: one["ports"] for name, one in services.items() if "ports" in one}
    assert list(ports) == ["gateway"]
    assert re.fullmatch(r"\$\{GATEWAY_LISTEN:\?[^}]+\}:4242:4242", ports["gateway"][0])
    environment = {
        name: value
        for name, value in services["dicom"]["environment"].items()
        if not value.startswith("$")
    }
    settings = from_environment(environment)
    assert settings.archive == "http://gateway:8042/dicom-web"
    assert set(services["dicom"]["environment"]) <= {
        PREFIX + field.name.upper() for field in fields(Settings)
    }
    assert services["dicom"]["build"]["args"] == {"EXTRAS": "dicom"}
    for volume in services["gateway"]["volumes"][:2]:
        assert (ROOT / "deploy" / volume.split(":")[0]).is_file()
    assert services["dicom"]["cap_drop"] == ["ALL"]
    assert services["dicom"]["read_only"]
