import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml
from prometheus_client.parser import text_string_to_metric_families

from kidney.artifact.predictor import Predictor
from kidney.imaging.appearance import baseline, thumbnail
from kidney.serving import app as app_module
from kidney.serving.app import create_app
from kidney.serving.monitoring.drift import RecentInputs
from kidney.serving.settings import Settings
from tests.helpers.pictures import encode, gradient
from tests.helpers.tiny_model import CARD, write_tiny_model
from tests.helpers.training_slices import drawn

API = "/api/v1/predictions"
ALERTS = Path(__file__).parents[3] / "deploy/alerts.yaml"
WHITE = encode(np.full((40, 50), 255, np.uint8))


def scraped(client) -> dict[str, list[tuple[dict[str, str], float]]]:
    """What /metrics says: name -> labels and value of each sample."""
    return scraped_text(client.get("/metrics").text)


def scraped_text(text: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        found.setdefault(family.name, [])
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def rules() -> list[dict]:
    groups = yaml.safe_load(ALERTS.read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def value(found, name: str, **labels: str) -> float:
    return sum(v for own, v in found.get(name, []) if labels.items() <= own.items())


def test_requests_are_counted_by_route_method_and_status(client, send):
    send(WHITE)
    send(b"broken")
    client.get("/secret-patient")
    client.open("/", method="SECRET")
    found = scraped(client)
    requests = "kidney_requests_total"
    assert value(found, requests, route=API, method="POST", status="200") == 1
    assert value(found, requests, route=API, method="POST", status="415") == 1
    assert value(found, requests, route="(unknown path)", status="404") == 1
    assert value(found, requests, method="other", status="405") == 1
    assert value(found, "kidney_request_seconds_count", route=API) == 2
    assert value(found, "kidney_requests_in_flight") == 1  # this one
    assert "secret" not in str(found).lower()


def test_slices_decisions_labels_and_scores_are_counted(tmp_path):
    rules = replace(
        CARD.rules, ood_above=0.9, suspect_from={"cyst": 2.0, "tumor": 2.0, "stone": 2.0}
    )
    card = replace(CARD, rules=rules)
    path = write_tiny_model(tmp_path / "kidney.onnx", card=card, ood_score=True)
    client = create_app(Settings(model=path, threads=1, auth=False)).test_client()
    files = [(io.BytesIO(encode(gradient() // 2)), "x.png"), (io.BytesIO(WHITE), "x.png")]
    client.post(API, data={"file": files})
    client.post("/", data={"file": (io.BytesIO(WHITE), "x.png")})
    found = scraped(client)
    assert value(found, "kidney_slices_total") == 3
    assert value(found, "kidney_decisions_total", decision="not_a_kidney_ct") == 2
    assert value(found, "kidney_decisions_total", decision="needs_review") == 1
    assert value(found, "kidney_labels_total") == 3
    assert value(found, "kidney_ood_ratio_count") == 3
    assert value(found, "kidney_ood_ratio_bucket", le="1.0") == 1
    assert value(found, "kidney_confidence_count") == 3


def test_the_model_is_named_also_when_another_takes_over(tmp_path):
    path = write_tiny_model(tmp_path / "kidney.onnx")
    app = create_app(Settings(model=path, threads=1, auth=False))
    client, engine = app.test_client(), app.extensions["kidney.engine"]

    def runs():
        return [labels["run"] for labels, _ in scraped(client)["kidney_model_info"]]

    assert runs() == [CARD.run]
    write_tiny_model(path, card=replace(CARD, run="next-run"))
    engine.swap()
    assert runs() == ["next-run"]
    path.write_bytes(b"broken")
    engine.swap()
    found = scraped(client)
    assert [labels["run"] for labels, _ in found["kidney_model_info"]] == ["next-run"]
    assert value(found, "kidney_model_swaps_total", result="done") == 1
    assert value(found, "kidney_model_swaps_total", result="failed") == 1
    assert value(found, "kidney_workers_ready") == 1


def test_a_worker_that_cannot_predict_is_not_ready(model, monkeypatch):
    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(Predictor, "predict", fail)
    client = create_app(Settings(model=model, threads=1, auth=False)).test_client()
    assert scraped(client)["kidney_workers_ready"] == [({}, 0)]


def test_who_is_sent_away_is_counted(model):
    settings = Settings(model=model, threads=1, auth=False, rate_limit="1/minute")
    client = create_app(settings).test_client()
    for _ in range(3):
        client.get("/api/v1/model")
    assert value(scraped(client), "kidney_refusals_total", status="429") == 2


def test_a_request_that_fails_is_no_longer_in_flight(send, client, monkeypatch):
    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(Predictor, "predict", fail)
    send(WHITE)
    found = scraped(client)
    assert value(found, "kidney_requests_in_flight") == 1
    assert value(found, "kidney_requests_total", status="500") == 1


class Stream:
    """Slices that are sent to a server whose model learned from drawn ones."""

    def __init__(self, folder: Path, monkeypatch) -> None:
        learned = drawn(300, seed=1)
        thumbnails = np.stack([thumbnail(slice_) for slice_ in learned])
        card = replace(CARD, baseline=baseline(thumbnails, [one.shape for one in learned]))
        path = write_tiny_model(folder / "kidney.onnx", card=card)
        made = []

        def remembered(*arguments) -> RecentInputs:
            made.append(RecentInputs(*arguments, window=250))
            return made[-1]

        monkeypatch.setattr(RecentInputs, "_run", lambda _: None)  # looked at here, not in a second
        monkeypatch.setattr(app_module, "RecentInputs", remembered)
        settings = Settings(model=path, threads=1, auth=False, rate_limit="")
        self.client = create_app(settings).test_client()
        (self.inputs,) = made

    def send(self, slices: list[np.ndarray]) -> None:
        for start in range(0, len(slices), 4):
            parts = [(io.BytesIO(encode(one)), "x.png") for one in slices[start : start + 4]]
            assert self.client.post(API, data={"file": parts}).status_code == 200
            self.inputs.update()

    def alerts(self) -> set[str]:
        """Which inputs the rule for drift would raise an alert for."""
        rules = [
            rule
            for group in yaml.safe_load(ALERTS.read_text())["groups"]
            for rule in group["rules"]
        ]
        (rule,) = (rule["expr"] for rule in rules if rule["alert"] == "KidneyInputDrift")
        pattern = r"kidney_drift_psi > ([\d.]+) and on \(instance\) kidney_drift_slices >= (\d+)"
        above, least = map(float, re.fullmatch(pattern, rule).groups())
        found = scraped(self.client)
        if value(found, "kidney_drift_slices") < least:
            return set()
        return {labels["input"] for labels, psi in found["kidney_drift_psi"] if psi > above}


def test_the_alert_for_drift_stays_silent_until_the_slices_change(tmp_path, monkeypatch):
    other = {"brighter": 60, "sizes": ((77, 99),), "enhanced": 1.0}
    stream = Stream(tmp_path, monkeypatch)
    stream.send(drawn(60, seed=2, **other))
    assert stream.alerts() == set()  # too few to tell
    stream.send(drawn(800, seed=3))
    assert stream.alerts() == set()
    stream.send(drawn(240, seed=4, **other))
    assert stream.alerts() >= {"grey", "sizes", "phase", "enhancement", "soft_grey"}
    assert "plane" not in stream.alerts()


def test_the_alerts_are_about_what_is_there(client, send):
    send(WHITE)
    named = set(re.findall(r"\bkidney_\w+", ALERTS.read_text("utf-8")))
    assert len(named) >= 9
    assert named <= scraped(client).keys()


def test_every_alert_says_what_is_wrong():
    rules = [
        rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]
    ]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]
        assert rule["expr"].count("(") == rule["expr"].count(")")
