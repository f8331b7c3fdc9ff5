"""Kidney Tumor Identification System: CT slices in, calibrated answers and their evidence out."""

import os

# Libraries that would report their use to their makers. Who wants that sets these to 0.
for _name in ("ORT_DISABLE_TELEMETRY", "MLFLOW_DISABLE_TELEMETRY"):
    os.environ.setdefault(_name, "1")
