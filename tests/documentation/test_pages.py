"""What the pages say of settings, metrics, alerts, errors and routes is what the code says."""

import json
import re
import shutil
import subprocess
import tomllib
import zipfile
from dataclasses import fields
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from flask import Flask

from kidney.serving.app import create_app
from kidney.serving.settings import PREFIX, Settings, from_environment
from tests.helpers.doc_pages import ROOT, all_commands, blocks, table
from tests.helpers.pictures import encode, gradient
from tests.helpers.server_process import serving
from tests.helpers.tiny_model import write_tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "kidney.onnx", ood_score=True)


@pytest.fixture(scope="module")
def app(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Flask:
    feedback = tmp_path_factory.mktemp("feedback") / "feedback.sqlite"
    return create_app(
        Settings(
            model=model,
            threads=1,
            auth=True,
            api_keys=(f"a:{'0' * 64}",),
            feedback_file=feedback,
            history_days=7,
        )
    )


@pytest.fixture(scope="module")
def client(model: Path) -> Any:
    return create_app(Settings(model=model, threads=1, auth=False)).test_client()


def named(cells: list[str]) -> list[str]:
    """Return what stands between backticks in some cells."""
    return re.findall(r"`([^`]+)`", " ".join(cells))


def test_the_table_of_settings_has_every_variable_and_its_default():
    said = {}
    for variable, default, _ in table("docs/operations.md", "Settings"):
        said[variable.strip("`")] = default.strip("`")
    assert list(said) == [PREFIX + field.name.upper() for field in fields(Settings)]
    assert from_environment(said) == Settings()
    for field in fields(Settings):
        empty = field.default in (None, "", ())
        assert (said[PREFIX + field.name.upper()] == "") == empty, field.name


def test_the_table_of_metrics_has_every_one(client: Any):
    client.post("/api/v1/predictions", data={"file": (BytesIO(encode(gradient())), "slice")})
    text = client.get("/metrics").get_data(as_text=True)
    told = re.findall(r"^# TYPE (\w+) (\w+)$", text, re.M)
    there = {name for name, _ in told if not name.endswith("_created")}
    said = {name for row in table("docs/operations.md", "Metrics") for name in named(row[:1])}
    assert said == there


def test_the_table_of_alerts_has_every_one():
    rules = yaml.safe_load((ROOT / "deploy/alerts.yaml").read_text("utf-8"))
    there = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    rows = table("docs/operations.md", "Alerts")
    assert {name for row in rows for name in named(row[:1])} == there
    assert all(len(row) == 3 for row in rows)


def test_the_table_of_errors_has_every_kind():
    kind = re.compile(r"urn:kidney:problem:([a-z-]+)")
    there = {
        found
        for file in (ROOT / "kidney").rglob("*.py")
        for found in kind.findall(file.read_text("utf-8"))
    }
    rows = table("docs/api.md", "Errors")
    assert {name for row in rows for name in named(row[:1])} == there


def test_the_table_of_routes_has_every_one(app: Flask):
    there: dict[str, set[str]] = {}
    for rule in app.url_map.iter_rules():
        path = re.sub(r"^(/static/).*", r"\1...", rule.rule)
        if not path.startswith("/api/v1/docs/"):
            there.setdefault(path, set()).update(rule.methods - {"HEAD", "OPTIONS"})
    said = {
        route: set(methods.split(", "))
        for paths, methods, *_ in table("docs/api.md", "Routes")
        for route in named([paths])
    }
    assert said == there


def test_the_table_of_routes_says_where_a_key_is_needed(app: Flask):
    for paths, methods, key, _ in table("docs/api.md", "Routes"):
        for path in named([paths]):
            if key not in ("yes", "no", "session"):
                continue
            method = methods.partition(",")[0]
            answer = app.test_client().open(path.replace("...", "favicon.svg"), method=method)
            refused = answer.status_code == 401 or answer.headers.get("Location") == "/login"
            assert refused == (key != "no"), path


def shape(value: Any) -> Any:
    """Return what a JSON value is made of; numbers are numbers."""
    if isinstance(value, dict):
        return {name: shape(member) for name, member in value.items()}
    if isinstance(value, list):
        return [shape(member) for member in value]
    return float if isinstance(value, int | float) else value


def answer_and_error() -> tuple[dict[str, Any], dict[str, Any]]:
    answer, error = (json.loads(block) for block in blocks("docs/api.md", "json"))
    return answer, error


def test_the_example_is_what_the_server_answers(client: Any):
    data = {"file": (BytesIO(encode(gradient())), "slice")}
    there = client.post("/api/v1/predictions", data=data).get_json()
    said, _ = answer_and_error()
    there["model"]["sha256"] = said["model"]["sha256"]
    assert shape(said) == shape(there)
    assert said["predictions"][0]["probabilities"] == pytest.approx(
        there["predictions"][0]["probabilities"], abs=1e-3
    )


def test_the_example_of_an_error_is_one(client: Any):
    there = client.post("/api/v1/predictions", data={"file": (BytesIO(b"no picture"), "slice")})
    _, said = answer_and_error()
    own = {"instance", "request_id"}
    problem = there.get_json()
    assert set(said) == set(problem)
    assert {name: said[name] for name in set(said) - own} == {
        name: problem[name] for name in set(problem) - own
    }


def test_the_example_of_the_log_has_its_members(client: Any, caplog: pytest.LogCaptureFixture):
    with caplog.at_level("INFO", "kidney"):
        client.post("/api/v1/predictions", data={"file": (BytesIO(encode(gradient())), "slice")})
    (block,) = blocks("docs/operations.md", "json")
    fields_ = next(record.fields for record in caplog.records if record.getMessage() == "request")
    assert set(json.loads(block)) == {
        "time", "level", "logger", "message", "request_id", *fields_,
    }  # fmt: skip


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_curl_gets_what_the_pages_say(model: Path, tmp_path: Path):
    picture = encode(gradient(), "JPEG")
    (tmp_path / "slice.jpg").write_bytes(picture)
    with zipfile.ZipFile(tmp_path / "series.zip", "w") as packed:
        packed.writestr("1.jpg", picture)
    known = {command.words for command in all_commands() if command.words[0] == "curl"}
    assert len(known) >= 8
    with serving(model) as server:
        for words in known:
            called = [
                word.replace("127.0.0.1:8000", server.address).replace("HOST:8000", server.address)
                for word in words
            ]
            done = subprocess.run(
                [*called, "--silent", "--show-error", "--fail-with-body"],
                cwd=tmp_path, capture_output=True, text=True,
            )  # fmt: skip
            assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
            assert done.stdout.startswith(("{", "#")), words


def test_figures_are_the_same_on_every_page():
    interval = re.compile(r"\d\.\d+\*{0,2} \[\d\.\d+, \d\.\d+\]")
    readme = (ROOT / "README.md").read_text("utf-8").replace("**", "")
    for page in (ROOT / "docs").glob("*.md"):
        if page.name not in ("benchmarks.md", "lesions.md"):  # the second has trials of its own
            for figure in interval.findall(page.read_text("utf-8")):
                assert figure in readme, f"{page.name}: {figure}"


def test_who_cites_names_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    assert f"https://doi.org/{citation['references'][0]['doi']}" in (ROOT / "README.md").read_text(
        "utf-8"
    )
    assert f"version {project['version']}" in (ROOT / "CHANGELOG.md").read_text("utf-8")
