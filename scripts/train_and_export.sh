#!/usr/bin/env bash
# Train, evaluate and export as .github/workflows/train.yml asks, by variables: MODEL, DATA,
# EXPERIMENT (none: a single fit), SOURCE (empty: as conf/data says) and, for the registry,
# MLFLOW_TRACKING_URI. Ends with artifacts/kidney.onnx.
set -euo pipefail
cd "$(dirname "$0")/.."
settings=("data=$DATA" "model=$MODEL")
[ -z "${SOURCE:-}" ] || settings+=("data.source='$SOURCE'")
[ -z "${MLFLOW_TRACKING_URI:-}" ] || settings+=("tracking.uri='$MLFLOW_TRACKING_URI'")
training=("${settings[@]}")
[ "${EXPERIMENT:-none}" = none ] || training+=("experiment=$EXPERIMENT")

set -x
.venv/bin/python train.py "${training[@]}"
.venv/bin/python scripts/evaluate.py "${settings[@]}"
.venv/bin/python export.py "${settings[@]}"
set +x
# Where teams share a registry, the new model is proposed there too.
[ -z "${MLFLOW_TRACKING_URI:-}" ] || .venv/bin/python scripts/promote.py "${settings[@]}"
