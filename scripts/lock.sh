#!/usr/bin/env bash
# Write requirements/: what the images and the deploying workflow install, with the hashes of PyPI.
# The versions are those of constraints.txt; run it whenever that or pyproject.toml changes.
set -euo pipefail
cd "$(dirname "$0")/.."
lock() {
    local file=$1
    shift
    uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
        --no-header --no-emit-index-url --constraint constraints.txt \
        --output-file "requirements/$file.txt" "$@"
}
lock server pyproject.toml
lock s3 --extra s3 pyproject.toml
lock verify --extra verify pyproject.toml
lock deploy --extra deploy pyproject.toml
echo setuptools | lock build -
