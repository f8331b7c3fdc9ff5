#!/bin/bash
# Builds the image with buildah and runs it with podman, where there is no Docker:
#   deploy/try_image.sh [CONTEXT]
# CONTEXT is a checkout with artifacts/kidney.onnx; default: this one. A bookworm of debootstrap
# stands in for python:3.11-slim-bookworm. Needs root and, of Debian, buildah, debootstrap, podman
# and runc. Takes minutes, and room under TMPDIR that is given back at the end.
set -euo pipefail

here=$(realpath "$(dirname "$0")")
context=$(realpath "${1:-$here/..}")
work=$(mktemp --directory)
store=(--root "$work/store" --runroot "$work/run") # STORAGE_DRIVER=vfs where overlay fails
engine=(podman --runtime runc "${store[@]}")
base=localhost/python:3.11-slim-bookworm
running=()
web=

end() {
    for container in "${running[@]}"; do
        "${engine[@]}" rm --force --time 0 "$container" >"$work/end.log" 2>&1 || true
    done
    [ -z "$web" ] || kill "$web"
    umount --recursive "$work/store/overlay" 2>"$work/end.log" || true # where vfs is: none
    rm --recursive --force "$work"
}
trap end EXIT

say() { echo "== $*"; }
fail() {
    echo "FAILED: $*" >&2
    exit 1
}
free_port() {
    python3 -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])'
}

say "The base, by debootstrap"
debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm \
    "$work/base" http://deb.debian.org/debian >"$work/debootstrap.log" 2>&1 ||
    fail "debootstrap: $(tail --lines=5 "$work/debootstrap.log")"
rm --recursive --force "$work/base/var/cache/apt" "$work/base/var/lib/apt/lists"
# As in Docker's: a pip of its own, which may install. It trusts whom this machine trusts.
rm "$work/base/usr/lib/python3.11/EXTERNALLY-MANAGED"
wheels=("$work"/base/usr/share/python-wheels/{pip,setuptools}-*.whl)
chroot "$work/base" python3 "${wheels[0]#"$work/base"}/pip" install --quiet --no-index \
    --root-user-action ignore "${wheels[@]#"$work/base"}"
cp --dereference /etc/ssl/certs/ca-certificates.crt "$work/base/etc/ssl/certs/"
printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n' >"$work/base/etc/pip.conf"
printf 'FROM scratch\nADD . /\nCMD ["python3"]\n' >"$work/base.Dockerfile"
buildah "${store[@]}" build --isolation chroot --quiet --tag "$base" \
    --file "$work/base.Dockerfile" "$work/base" >"$work/base.log"
rm --recursive --force "$work/base"

for target in server with-model; do
    say "The image $target, by buildah"
    buildah "${store[@]}" build --isolation chroot --format docker --target "$target" \
        --build-arg "PYTHON_IMAGE=$base" --build-arg REVISION=tried --layers \
        --tag "kidney:$target" "$context" >"$work/$target.log" 2>&1 ||
        fail "buildah: $(tail --lines=20 "$work/$target.log")"
done

size() { "${engine[@]}" image inspect --format '{{.Size}}' "$1"; }
say "Size: the base $(($(size "$base") / 1000000)) MB, with the server" \
    "$(($(size kidney:server) / 1000000)) MB, with the model $(($(size kidney:with-model) / 1000000)) MB"

key=kidney_$(head --bytes=32 /dev/urandom | base64 --wrap=0 | tr '+/' '-_' | tr --delete =)
echo "$key" >"$work/key"
hash=$(printf %s "$key" | sha256sum | cut --characters=1-64)
model=$(sha256sum "$context/artifacts/kidney.onnx" | cut --characters=1-64)

try() { # NAME IMAGE [OPTION...]: it serves, is healthy, and ends when it is told to
    local name=$1 image=$2 port
    shift 2
    port=$(free_port)
    running+=("$name")
    # What podman says here of health checks is that no systemd is there to time them.
    "${engine[@]}" run --detach --name "$name" --network host --memory 1g --pids-limit 256 \
        --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --read-only --tmpfs /tmp \
        --cap-drop ALL --security-opt no-new-privileges \
        --env KIDNEY_HOST=127.0.0.1 --env "KIDNEY_PORT=$port" --env "KIDNEY_API_KEYS=try:$hash" \
        "$@" "$image" >"$work/$name.log" 2>&1 || fail "podman: $(cat "$work/$name.log")"
    python3 "$here/smoke.py" --url "http://127.0.0.1:$port" --key-file "$work/key" \
        --expect-model "$model" || fail "$("${engine[@]}" logs "$name" 2>&1 | tail --lines=20)"
    "${engine[@]}" healthcheck run "$name" || fail "its health check"
    "${engine[@]}" exec "$name" python3 -c '
import os, importlib.util
assert (os.getuid(), os.getgid()) == (10001, 10001)
for name in ("torch", "pip", "setuptools", "mlflow", "boto3", "cryptography"):
    assert importlib.util.find_spec(name) is None, name
for place in ("/app", "/opt/venv", "/srv", "/etc", "/"):
    assert not os.access(place, os.W_OK), place
' || fail "what is inside"
    "${engine[@]}" stop --time 60 "$name" >"$work/$name.log" 2>&1
    status=$("${engine[@]}" inspect --format '{{.State.ExitCode}}' "$name")
    [ "$status" = 0 ] || fail "it ended with status $status: $("${engine[@]}" logs "$name")"
    say "$name: served, healthy, user 10001, read-only, ended with status 0"
}

try baked kidney:with-model
port=$(free_port)
python3 -m http.server --bind 127.0.0.1 --directory "$context/artifacts" "$port" \
    >"$work/web.log" 2>&1 &
web=$!
try fetched kidney:server --volume models:/models --env "KIDNEY_MODEL_SHA256=$model" \
    --env "KIDNEY_MODEL_FROM=http://127.0.0.1:$port/kidney.onnx"
