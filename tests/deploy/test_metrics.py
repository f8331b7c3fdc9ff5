"""What the instance tells CloudWatch, read from the real /metrics of a server."""

import ast
import json
import re
import runpy
import sys
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from flask import Flask

from kidney.serving.app import create_app
from kidney.serving.guards.keys import entry
from kidney.serving.settings import Settings
from tests.helpers.cloudformation import TEMPLATE
from tests.helpers.deploy_modules import DEPLOY, metrics
from tests.helpers.machine import Machine
from tests.helpers.pictures import encode, gradient
from tests.helpers.tiny_model import write_tiny_model

KEY = "kidney_of_the_instance"
SCRIPT = DEPLOY / "instance" / "metrics.py"


@pytest.fixture
def app(tmp_path: Path) -> Flask:
    model = write_tiny_model(tmp_path / "kidney.onnx")
    keys = (entry("instance-metrics", KEY),)
    return create_app(Settings(model=model, threads=1, proxies=1, api_keys=keys))


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port(app: Flask) -> Iterator[int]:
    server = make_server("127.0.0.1", 0, app, handler_class=Quiet)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def predict(app: Flask, count: int) -> None:
    for _ in range(count):
        done = app.test_client().post(
            "/api/v1/predictions",
            data={"file": (BytesIO(encode(gradient())), "slice.png")},
            headers={"Authorization": f"Bearer {KEY}"},
        )
        assert done.status_code == 200


def sent(machine: Machine, port: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict]:
    """Let the script run as the timer does; return what CloudWatch got, by name."""
    machine.home.mkdir(exist_ok=True)
    (machine.home / "metrics.key").write_text(KEY + "\n")
    (machine.home / "metrics.target").write_text(f"{port} kidney eu-central-1\n")
    for name, value in machine.environment.items():
        monkeypatch.setenv(name, value)
    runpy.run_path(str(SCRIPT), run_name="__main__")
    rows = json.loads((machine.fake / "metrics").read_text())
    assert all(row["Dimensions"] == [{"Name": "Stack", "Value": "kidney"}] for row in rows)
    return {row["MetricName"]: row for row in rows}


def test_each_minute_says_what_came_since_the_last(
    app: Flask, port: int, machine: Machine, monkeypatch: pytest.MonkeyPatch
):
    predict(app, 2)
    first = sent(machine, port, monkeypatch)
    assert first["Requests"]["Value"] == 0  # what came before the first look is of no minute
    assert first["Ready"]["Value"] == 1
    assert first["Waiting"]["Value"] == 1  # the question itself
    predict(app, 3)
    second = sent(machine, port, monkeypatch)
    assert second["Requests"]["Value"] == 3
    assert sum(second["RequestSeconds"]["Counts"]) == 3
    assert second["Errors"]["Value"] == 0
    assert sent(machine, port, monkeypatch)["Requests"]["Value"] == 0
    call = machine.calls[-1]
    assert "put-metric-data --region eu-central-1 --namespace Kidney" in call


def test_a_server_that_does_not_answer_is_not_ready(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
):
    found = sent(machine, 9, monkeypatch)  # nobody listens there
    assert found["Ready"]["Value"] == 0
    assert set(found) == {"Ready", "DiskUsed"}


def test_alarms_look_at_what_is_sent(
    app: Flask, port: int, machine: Machine, monkeypatch: pytest.MonkeyPatch
):
    sent(machine, port, monkeypatch)
    predict(app, 1)
    names = {*sent(machine, port, monkeypatch), "Drift"}  # which needs 200 slices
    asked = {
        resource["Properties"]["MetricName"]
        for resource in TEMPLATE["Resources"].values()
        if resource.get("Properties", {}).get("Namespace") == metrics.NAMESPACE
    }
    assert asked == {"Ready", "Errors", "Refused", "Waiting", "RequestSeconds", "Drift", "DiskUsed"}
    assert asked <= names


SAMPLES = """
# HELP kidney_requests_total Requests
kidney_requests_total{method="POST",route="/api/v1/predictions",status="200"} 8.0
kidney_requests_total{method="POST",route="/api/v1/predictions",status="500"} 2.0
kidney_requests_total{method="GET",route="/",status="500"} 1.0
kidney_refusals_total{status="429"} 7.0
kidney_refusals_total{status="503"} 3.0
kidney_refusals_total{status="504"} 1.0
kidney_request_seconds_bucket{le="0.1",route="/api/v1/predictions"} 4.0
kidney_request_seconds_bucket{le="1.0",route="/api/v1/predictions"} 7.0
kidney_request_seconds_bucket{le="+Inf",route="/api/v1/predictions"} 10.0
kidney_request_seconds_bucket{le="0.1",route="/"} 99.0
kidney_drift_psi{input="grey"} 0.1
kidney_drift_psi{input="size"} 0.4
kidney_workers_ready 2.0
kidney_requests_in_flight 5.0
kidney_drift_slices %s
"""


def test_counters_and_the_histogram_are_read():
    samples = metrics.read_samples(SAMPLES % 250.0)
    now = metrics.counters(samples)
    assert {name: now[name] for name in ("Requests", "Errors", "Refused")} == {
        "Requests": 10,
        "Errors": 3,
        "Refused": 4,
    }
    assert metrics.seconds(now) == ([0.1, 1.0, 2.0], [4, 3, 3])
    data = {row["MetricName"]: row for row in metrics.metric_data(samples, now)}
    assert data["Drift"]["Value"] == 0.4
    assert (data["Ready"]["Value"], data["Waiting"]["Value"]) == (2, 5)


def test_drift_of_a_few_slices_is_chance():
    samples = metrics.read_samples(SAMPLES % 199.0)
    data = metrics.metric_data(samples, metrics.counters(samples))
    assert "Drift" not in {row["MetricName"] for row in data}


def test_a_server_that_began_anew_counts_from_nothing():
    now = metrics.counters(metrics.read_samples(SAMPLES % 0.0))
    gained = metrics.added(now, {**now, "Requests": 500.0})
    assert gained == now


def test_the_python_of_the_instance_reads_the_script():
    ast.parse(SCRIPT.read_text("utf-8"), feature_version=(3, 9))
    imported = re.findall(r"^(?:import|from) (\w+)", SCRIPT.read_text("utf-8"), re.M)
    assert set(imported) <= sys.stdlib_module_names
