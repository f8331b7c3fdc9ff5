#!/usr/bin/env bash
# Runs on the instance, as root, by SSM: starts a release beside the one that serves, and lets it
# take over once its model answers. Until then nothing of the old one is touched; the same release
# again changes nothing. deploy/rollout/command.py sends this file and sets the variables.
set -euo pipefail
umask 077
export HOME=${HOME:-/root} # SSM sets none, and docker keeps its login there

: "${STACK:?}" "${REGION:?}" "${IMAGE:?}" "${MODEL:?}" "${BUCKET:?}" "${DOMAIN:?}"
: "${LOG_GROUP:?}" "${CADDY_IMAGE:?}"
home=${KIDNEY_HOME:-/var/lib/kidney}
tries=${READY_TRIES:-90}
pause=${READY_PAUSE:-2}

say() { echo "$(date -u +%H:%M:%S) $*"; }
fail() {
    echo "$*" >&2
    exit 1
}

command -v docker >/dev/null ||
    fail "Docker is not installed yet: wait until cloud-init has ended, then deploy again."
mkdir -p "$home/models" "$home/caddy"
exec 9>"$home/lock"
flock --nonblock 9 || fail "Another deployment runs on this instance: wait until it has ended."

# Secrets of this instance: the key with which it reads its own /metrics, and what signs sessions,
# so that those outlive a deployment.
random() { head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n'; }
[ -s "$home/metrics.key" ] || echo "kidney_$(random)" >"$home/metrics.key"
[ -s "$home/session.secret" ] || random >"$home/session.secret"
metrics_hash=$(tr -d '\n' <"$home/metrics.key" | sha256sum | cut -c1-64)

# Hashes of the callers' keys: an administrator writes them, no deployment does.
keys=$(aws ssm get-parameter --region "$REGION" --name "/$STACK/api-keys" --with-decryption \
    --query Parameter.Value --output text) ||
    fail "The parameter /$STACK/api-keys cannot be read: put the entries of the API keys there."
cat >"$home/server.env" <<SETTINGS
KIDNEY_HOST=0.0.0.0
KIDNEY_PORT=8000
KIDNEY_MODEL=/model/kidney.onnx
KIDNEY_MODEL_SHA256=$MODEL
KIDNEY_MODEL_FROM=
KIDNEY_WATCH_SECONDS=0
KIDNEY_PROXIES=1
KIDNEY_API_KEYS=instance-metrics:$metrics_hash,${keys//[[:space:]]/,}
KIDNEY_SESSION_SECRET=$(cat "$home/session.secret")
SETTINGS

if ! docker image inspect "$IMAGE" >/dev/null 2>&1; then
    say "Pulling $IMAGE"
    aws ecr get-login-password --region "$REGION" |
        docker login --username AWS --password-stdin "${IMAGE%%/*}" >/dev/null
    docker pull --quiet "$IMAGE" >/dev/null
fi

# The host fetches the model, so that the container, which reads what strangers send, needs no
# access to AWS and has none.
model=$home/models/$MODEL.onnx
if [ ! -f "$model" ]; then
    say "Fetching the model $MODEL"
    aws s3 cp --region "$REGION" --only-show-errors "s3://$BUCKET/models/$MODEL.onnx" "$model.partial"
    echo "$MODEL  $model.partial" | sha256sum --check --status ||
        fail "The model in the bucket does not have the SHA-256 $MODEL: upload it again."
    chmod 644 "$model.partial"
    mv "$model.partial" "$model"
fi

# By labels and filters: SSM takes the braces of docker's templates for parameters of its own.
runs() { # NAME LABEL: this container is up, and has the label
    [ -n "$(docker ps --quiet --filter "name=^$1$" --filter status=running --filter "label=$2")" ]
}
ready() { # PORT: it answers, with this model
    local answer
    answer=$(curl --fail --silent --max-time 10 "http://127.0.0.1:$1/readyz") &&
        [[ $answer == *"$MODEL"* ]]
}
route() { # NAME: Caddy sends requests there; those that have begun end where they are
    cat >"$home/caddy/Caddyfile.new" <<CADDY || return 1
$DOMAIN {
	respond /metrics 404
	reverse_proxy $1:8000 {
		transport http {
			keepalive 60s # shorter than the server's 75
		}
	}
}
CADDY
    mv "$home/caddy/Caddyfile.new" "$home/caddy/Caddyfile" || return 1
    if runs caddy "kidney.proxy=$CADDY_IMAGE"; then
        docker exec caddy caddy reload --config /etc/caddy/Caddyfile
    else
        docker rm --force caddy >/dev/null 2>&1 || true
        docker run --detach --name caddy --restart unless-stopped --network kidney \
            --label "kidney.proxy=$CADDY_IMAGE" \
            --publish 80:80 --publish 443:443 --read-only --cap-drop ALL \
            --cap-add NET_BIND_SERVICE --security-opt no-new-privileges \
            --volume "$home/caddy:/etc/caddy:ro" --volume caddy-data:/data \
            --volume caddy-config:/config "$CADDY_IMAGE" >/dev/null
    fi
}

release=$({ echo "$IMAGE" && cat "$home/server.env"; } | sha256sum | cut -c1-64)
old=$(cat "$home/serving" 2>/dev/null || true)
if [ "$old" = kidney-blue ]; then new=kidney-green port=8002; else new=kidney-blue port=8001; fi
old_port=$((8003 - port + 8000))
if [ -n "$old" ] && runs "$old" "kidney.release=$release" && ready "$old_port"; then
    route "$old"
    say "$old serves this release already"
    exit 0
fi

docker network inspect kidney >/dev/null 2>&1 || docker network create kidney >/dev/null
docker rm --force "$new" >/dev/null 2>&1 || true
# Two of them run during a release: what one takes beyond its part ends it, not the instance.
memory=$(awk '/^MemTotal/ { print int($2 * 0.6) "k" }' /proc/meminfo)
say "Starting $new"
docker run --detach --name "$new" --network kidney \
    --publish "127.0.0.1:$port:8000" --env-file "$home/server.env" --volume "$model:/model/kidney.onnx:ro" \
    --read-only --tmpfs /tmp:rw,noexec,nosuid,size=512m --cap-drop ALL \
    --security-opt no-new-privileges --pids-limit 512 --memory "$memory" --memory-swap "$memory" \
    --label "kidney.release=$release" \
    --log-driver awslogs --log-opt "awslogs-region=$REGION" --log-opt "awslogs-group=$LOG_GROUP" \
    --log-opt "awslogs-stream=$new-${release:0:12}" --log-opt mode=non-blocking "$IMAGE" >/dev/null

for ((try = 1; ; try++)); do
    ready "$port" && break
    if ! runs "$new" "kidney.release=$release" || [ "$try" -ge "$tries" ]; then
        echo "The last lines of $new:" >&2
        docker logs --tail 30 "$new" >&2 || true
        docker rm --force "$new" >/dev/null
        fail "$new did not become ready; ${old:-nothing} serves as before."
    fi
    sleep "$pause"
done

docker update --restart unless-stopped "$new" >/dev/null
if ! route "$new"; then
    [ -z "$old" ] || route "$old" || true
    docker rm --force "$new" >/dev/null
    fail "Caddy did not take the new address; ${old:-nothing} serves as before."
fi
echo "$new" >"$home/serving"
echo "$port $STACK $REGION" >"$home/metrics.target"
say "$new serves"
if [ -n "$old" ]; then
    docker stop --time 40 "$old" >/dev/null || true # requests that have begun may end
    docker rm --force "$old" >/dev/null || true
fi

# Disks fill up. What is gone is fetched again where a roll-back needs it.
docker image prune --all --force --filter until=672h >/dev/null || true
find "$home/models" -name '*.onnx' -mtime +28 ! -name "$MODEL.onnx" -delete
