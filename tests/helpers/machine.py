"""A machine that runs deploy/instance for real, with docker, aws and curl that play their parts.

Each of the three is a few lines of shell over files: what runs, what is pulled, what the bucket
holds. Tests write these files to let a part fail, and read them to see what is left.
"""

import os
import subprocess
from pathlib import Path

PARTS = {
    "docker": r"""
echo "docker $*" >>"$FAKE/calls"
box() { echo "$FAKE/containers/$1"; }
last=${*: -1}
case "$1 ${2:-}" in
"image inspect") [ -e "$FAKE/images/${3##*:}" ] ;;
"image prune" | "network create") ;;
"network inspect") false ;;
"pull "*) [ ! -e "$FAKE/no-pull" ] && touch "$FAKE/images/${last##*:}" ;;
"login "*) read -r password && [ "$password" = token ] ;;
"rm "*) rm -r "$(box "$last")" ;;
"stop "*) echo false >"$(box "$last")/running" ;;
"update "*) [ -d "$(box "$last")" ] ;;
"logs "*) echo "serve.py: the model is broken" ;;
"exec caddy") [ ! -e "$FAKE/no-reload" ] ;;
"ps --quiet")
    name=$(sed 's/.*name=^\([^$]*\).*/\1/' <<<"$*") && cd "$(box "$name")" 2>/dev/null || exit 0
    [ "$(cat running)" = true ] && [ "$(cat label)" = "${last#label=}" ] && echo id || true ;;
"run "*)
    name=$(sed 's/.*--name \([^ ]*\).*/\1/' <<<"$*")
    mkdir "$(box "$name")" && cd "$(box "$name")"
    echo "$last" >image
    [ -e "$FAKE/dies" ] && echo false >running || echo true >running
    sed 's/.*--label \([^ ]*\).*/\1/' <<<"$*" >label
    sed -n 's/.*127.0.0.1:\([0-9]*\):8000.*/\1/p' <<<"$*" >port
    settings=$(sed -n 's/.*--env-file \([^ ]*\).*/\1/p' <<<"$*")
    [ -z "$settings" ] || cp "$settings" settings ;;
*) echo "no such command: docker $*" >&2; exit 64 ;;
esac
""",
    "aws": r"""
echo "aws $*" >>"$FAKE/calls"
case "$1 $2" in
"ssm get-parameter") cat "$FAKE/api-keys" ;;
"ecr get-login-password") echo token ;;
"s3 cp") from=${*: -2:1} && cp "$FAKE/bucket/${from##*/}" "${*: -1}" ;;
"cloudwatch put-metric-data") echo "${*: -1}" >"$FAKE/metrics" ;;
*) echo "no such command: aws $*" >&2; exit 64 ;;
esac
""",
    "curl": r"""
url=${*: -1} && port=${url#http://127.0.0.1:} && port=${port%%/*}
for box in "$FAKE"/containers/*; do
    [ "$(cat "$box/port")" = "$port" ] && [ "$(cat "$box/running")" = true ] || continue
    [ -e "$FAKE/deaf" ] && exit 22
    sed -n 's/KIDNEY_MODEL_SHA256=\(.*\)/{"status":"ready","sha256":"\1"}/p' "$box/settings"
    exit 0
done
exit 7
""",
}
ENTRY = "radiology:" + "ab" * 32


class Machine:
    """One instance: `run` is what SSM does with a command."""

    def __init__(self, folder: Path) -> None:
        self.fake, self.home = folder / "fake", folder / "home"
        for name in ("containers", "images", "bucket", "bin"):
            (self.fake / name).mkdir(parents=True)
        for name, text in PARTS.items():
            part = self.fake / "bin" / name
            part.write_text(f"#!/usr/bin/env bash\n{text}")
            part.chmod(0o755)
        (self.fake / "api-keys").write_text(ENTRY + "\n")
        self.environment = {
            "PATH": f"{self.fake / 'bin'}:{os.environ['PATH']}",
            "FAKE": str(self.fake),
            "KIDNEY_HOME": str(self.home),
            "KIDNEY_PROGRAM": str(folder / "program"),
            "READY_TRIES": "3",
            "READY_PAUSE": "0",
        }

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a script as root's shell would; nothing of this process's environment is seen."""
        path = self.fake / "command.sh"
        path.write_text(script)
        return subprocess.run(
            ["bash", str(path)], env=self.environment, capture_output=True, text=True
        )

    def let(self, name: str, so: bool = True) -> None:
        """Let a part fail from now on, or no longer: no-pull, no-reload, dies, deaf."""
        path = self.fake / name
        path.touch() if so else path.unlink()

    @property
    def calls(self) -> list[str]:
        """What docker and aws were asked since the last look."""
        path = self.fake / "calls"
        text = path.read_text() if path.exists() else ""
        path.write_text("")
        return text.splitlines()

    @property
    def running(self) -> dict[str, str]:
        """The image of each container that runs, without the proxy."""
        return {
            box.name: (box / "image").read_text().strip()
            for box in sorted((self.fake / "containers").iterdir())
            if box.name != "caddy" and (box / "running").read_text().strip() == "true"
        }

    @property
    def routed(self) -> str | None:
        """The container that the proxy sends requests to."""
        path = self.home / "caddy" / "Caddyfile"
        if not path.exists():
            return None
        (line,) = (line for line in path.read_text().splitlines() if "reverse_proxy" in line)
        return line.split()[1].removesuffix(":8000")

    def settings(self, name: str) -> dict[str, str]:
        """The environment of a container."""
        text = (self.fake / "containers" / name / "settings").read_text()
        return dict(line.split("=", 1) for line in text.splitlines())
