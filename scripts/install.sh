#!/usr/bin/env bash
# Install the package with some of its extras into .venv, at the versions of constraints.txt:
#     bash scripts/install.sh train,export
# pip brings uv and uv does the rest: it downloads side by side and links files from its cache.
# PYTHON chooses the interpreter; otherwise the first of 3.11, 3.12 and 3.13 that is installed.
set -euo pipefail
cd "$(dirname "$0")/.."
extras=${1:?usage: bash scripts/install.sh EXTRA[,EXTRA...]}

supported='import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))'
if [ ! -x .venv/bin/python ]; then
    for python in ${PYTHON:-python3.11 python3.12 python3.13 python3}; do
        # The name alone is not enough: a shim of pyenv may lead nowhere.
        if "$python" -c "$supported" 2>/dev/null; then
            "$python" -m venv .venv
            break
        fi
    done
fi
if ! .venv/bin/python -c "$supported" 2>/dev/null; then
    echo "Expected Python 3.11, 3.12 or 3.13, found none that starts as ${PYTHON:-python3.11}." >&2
    echo "Install one, or name it: make setup PYTHON=/path/to/python3.12" >&2
    exit 1
fi
.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv

# uv reads uv.toml and its own variables but no pip.conf: hand over the index of a mirror.
index=${PIP_INDEX_URL:-$(.venv/bin/python -m pip config get global.index-url 2>/dev/null || true)}
if [ -n "$index" ] && [ -z "${UV_DEFAULT_INDEX:-${UV_INDEX_URL:-}}" ]; then
    export UV_DEFAULT_INDEX=$index
fi
.venv/bin/uv pip install --quiet --python .venv/bin/python --constraint constraints.txt \
    --editable ".[$extras]"
