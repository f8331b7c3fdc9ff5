"""deploy/push.sh and scripts/train_and_export.sh, with programs that note how they are called."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.helpers.deploy_modules import ROOT

URI = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/kidney-server"
COMMIT = "5" * 40
AWS = f"""
case "$*" in
*RepositoryUri*) echo {URI} ;;
*Architecture*) echo arm64 ;;
*describe-images*) cat "$FAKE/found" && [ ! -s "$FAKE/found" ] || exit 254 ;;
*get-login-password*) echo token ;;
esac
"""


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    for name, text in {"aws": AWS, "git": f"echo {COMMIT}", "docker": "cat >/dev/null"}.items():
        program = tmp_path / name
        program.write_text(f'#!/usr/bin/env bash\necho "{name} $*" >>"$FAKE/calls"\n{text}\n')
        program.chmod(0o755)
    return tmp_path


def push(fake: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{fake}:{os.environ['PATH']}", "FAKE": str(fake)}
    return subprocess.run(
        ["bash", ROOT / "deploy" / "push.sh", "kidney"],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


def test_the_image_of_the_commit_is_built_for_the_machine_and_pushed(fake: Path):
    (fake / "found").write_text(
        "An error occurred (ImageNotFoundException) when calling the DescribeImages operation"
    )
    done = push(fake)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith(f"{URI}:{COMMIT}")
    calls = (fake / "calls").read_text().splitlines()
    assert f"docker login --username AWS --password-stdin {URI.split('/')[0]}" in calls
    (build,) = (call for call in calls if call.startswith("docker buildx build"))
    for part in (
        "--target server",
        "--platform linux/arm64",
        "--provenance=false",
        f"REVISION={COMMIT}",
        f"--tag {URI}:{COMMIT} --push .",
    ):
        assert part in build


def test_what_was_pushed_before_is_left(fake: Path):
    (fake / "found").touch()
    done = push(fake)
    assert done.returncode == 0
    assert "is there already" in done.stdout
    assert "docker" not in (fake / "calls").read_text()


def test_a_registry_that_refuses_is_no_missing_image(fake: Path):
    (fake / "found").write_text("An error occurred (AccessDeniedException)")
    done = push(fake)
    assert done.returncode == 1
    assert "AccessDeniedException" in done.stderr
    assert "docker" not in (fake / "calls").read_text()


def train(tmp_path: Path, **variables: str) -> list[list[str]]:
    """Run the script in a copy whose python notes its words; return them."""
    (tmp_path / "scripts").mkdir()
    script = tmp_path / "scripts" / "train_and_export.sh"
    script.write_bytes((ROOT / "scripts" / script.name).read_bytes())
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$@" END >>calls\n')
    python.chmod(0o755)
    subprocess.run(["bash", script], env={"PATH": os.environ["PATH"], **variables}, check=True)
    text = (tmp_path / "calls").read_text().removesuffix("END\n")
    return [part.splitlines() for part in text.split("END\n")]


def test_a_training_asks_for_what_it_was_told(tmp_path: Path):
    calls = train(tmp_path, MODEL="lite0", DATA="ct_kidney", EXPERIMENT="cv", SOURCE="")
    plain = ["data=ct_kidney", "model=lite0"]
    assert calls == [
        ["train.py", *plain, "experiment=cv"],
        ["scripts/evaluate.py", *plain],
        ["export.py", *plain],
    ]


def test_a_hostile_source_stays_one_word_and_a_registry_is_told(tmp_path: Path):
    source = "https://x/a.zip; touch hostile $(touch hostile)"
    calls = train(
        tmp_path, MODEL="vit", DATA="phantom", EXPERIMENT="none", SOURCE=source,
        MLFLOW_TRACKING_URI="https://mlflow.example.org",
    )  # fmt: skip
    words = ["data=phantom", "model=vit", f"data.source='{source}'"]
    assert calls[0] == ["train.py", *words, "tracking.uri='https://mlflow.example.org'"]
    assert calls[-1][0] == "scripts/promote.py"
    assert not (tmp_path / "hostile").exists()
