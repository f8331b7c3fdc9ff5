"""Read the server's /metrics each minute and tell CloudWatch what its alarms look at.

A timer of the instance runs this (deploy/template.yaml); it needs Python 3.9 and the aws command,
which Amazon Linux has, and nothing else. Counters become what was added since the last minute.
"""

import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

Samples = dict[tuple[str, str], float]
Datum = dict[str, Any]

NAMESPACE = "Kidney"
ENOUGH = 200  # slices below which the population stability index is mostly chance
_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.M)
_ROUTE = 'route="/api/v1/predictions"'


def read_samples(text: str) -> Samples:
    """Return the value of each (name, labels) of the Prometheus text format."""
    return {(name, labels): float(value) for name, labels, value in _SAMPLE.findall(text)}


def counters(samples: Samples) -> dict[str, float]:
    """Return the counters that alarms look at, each under one name."""
    found = {"Requests": 0.0, "Errors": 0.0, "Refused": 0.0}
    for (name, labels), value in samples.items():
        if name == "kidney_requests_total" and _ROUTE in labels:
            found["Requests"] += value
        if name == "kidney_requests_total" and 'status="500"' in labels:
            found["Errors"] += value
        if name == "kidney_refusals_total" and re.search('status="50[34]"', labels):
            found["Refused"] += value
        if name == "kidney_request_seconds_bucket" and _ROUTE in labels:
            bound = re.search('le="([^"]+)"', labels)
            if bound and bound[1] != "+Inf":
                found[f"le {float(bound[1])}"] = value
    return found


def added(now: dict[str, float], before: dict[str, float]) -> dict[str, float]:
    """Return what each counter gained; one that fell has begun anew with another server."""
    began = any(value < before.get(name, 0.0) for name, value in now.items())
    return {name: value - (0.0 if began else before.get(name, 0.0)) for name, value in now.items()}


def seconds(gained: dict[str, float]) -> tuple[list[float], list[float]]:
    """Return bounds of the histogram and how many requests ended up to each, above the one before.

    Those above the last bound are counted at twice that bound.
    """
    bounds = sorted(float(name[3:]) for name in gained if name.startswith("le "))
    values, counts, below = [], [], 0.0
    for bound in bounds:
        if (up_to := gained[f"le {bound}"]) > below:
            values.append(bound)
            counts.append(up_to - below)
        below = max(below, gained[f"le {bound}"])
    if bounds and (slower := gained["Requests"] - below) > 0:
        values.append(2 * bounds[-1])
        counts.append(slower)
    return values, counts


def metric_data(samples: Samples, gained: dict[str, float]) -> list[Datum]:
    """Return the metrics of a server that answers."""

    def total(name: str) -> float:
        return sum(value for (found, _), value in samples.items() if found == name)

    enough = total("kidney_drift_slices") >= ENOUGH
    psi = [value for (name, _), value in samples.items() if name == "kidney_drift_psi"]
    values, counts = seconds(gained)
    data: list[Datum] = [
        {"MetricName": "Ready", "Value": total("kidney_workers_ready")},
        {"MetricName": "Waiting", "Value": total("kidney_requests_in_flight")},
        {"MetricName": "Requests", "Value": gained["Requests"]},
        {"MetricName": "Errors", "Value": gained["Errors"]},
        {"MetricName": "Refused", "Value": gained["Refused"]},
    ]
    if values:
        row = {"MetricName": "RequestSeconds", "Unit": "Seconds"}
        data.append({**row, "Values": values, "Counts": counts})
    if enough and psi:
        data.append({"MetricName": "Drift", "Value": max(psi)})
    return data


def main() -> None:
    """Read, subtract, send."""
    home = Path(os.environ.get("KIDNEY_HOME", "/var/lib/kidney"))
    port, stack, region = (home / "metrics.target").read_text().split()
    memory = home / "metrics.json"
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/metrics",
        headers={"Authorization": f"Bearer {(home / 'metrics.key').read_text().strip()}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            samples = read_samples(answer.read().decode())
    except (OSError, urllib.error.URLError) as error:
        print(f"/metrics cannot be read: {error}")
        data: list[Datum] = [{"MetricName": "Ready", "Value": 0.0}]
    else:
        now = counters(samples)
        before = json.loads(memory.read_text()) if memory.exists() else now
        data = metric_data(samples, added(now, before))
        memory.write_text(json.dumps(now))
    disk = shutil.disk_usage(home)
    used = 100 * disk.used / disk.total
    data.append({"MetricName": "DiskUsed", "Unit": "Percent", "Value": used})
    stamp = int(time.time())
    for datum in data:
        datum.update(Dimensions=[{"Name": "Stack", "Value": stack}], Timestamp=stamp)
    subprocess.run(
        ["aws", "cloudwatch", "put-metric-data", "--region", region, "--namespace", NAMESPACE,
         "--metric-data", json.dumps(data)],
        check=True,
    )  # fmt: skip


if __name__ == "__main__":
    main()
