"""Whole archives through the real command line: killed, resumed, repeated, and on a cluster."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as pds
import pyarrow.fs
import pytest

from kidney.imaging.slices import read_slices
from kidney.imaging.windows import ABDOMEN
from kidney.predictor import Predictor
from tests.scoring.conftest import Archive, fill
from tests.slow_model import write_slow_model
from tests.tiny_model import CARD

ROOT = Path(__file__).parents[2]
SCORE = [sys.executable, str(ROOT / "scripts/score.py")]
HEAD = """
import sys
import ray
head = ray.init("local", num_cpus=2, include_dashboard=False, object_store_memory=80 << 20)
print(head.address_info["gcs_address"], flush=True)
sys.stdin.read()
"""
LONGEST = 240  # seconds, on a machine that does other things


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def score(*arguments: object, code: int = 0) -> str:
    done = subprocess.run(
        [*SCORE, *map(str, arguments)],
        capture_output=True, text=True, env=environment(), timeout=LONGEST, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def rows(out: Path, kind: str = "slices") -> list[dict[str, Any]]:
    found = pds.dataset(out / kind, format="parquet").to_table().to_pylist()
    return sorted(found, key=lambda row: (row["path"], row.get("frame", 0)))


def check(out: Path, archive: Archive, model: Path) -> None:
    """See that the results are those of the predictor, file by file."""
    found = rows(out)
    assert [row["path"] for row in found] == sorted(archive.slices)
    slices = [read_slices(Path(row["path"]), ABDOMEN, "it")[0] for row in found]
    expected = [answer.probabilities for answer in Predictor(model, threads=1).predict(slices)]
    said = [[row[f"probability_{name}"] for name in CARD.classes] for row in found]
    np.testing.assert_allclose(said, expected, atol=1e-6)
    assert {row["path"]: row["kind"] for row in rows(out, "errors")} == archive.bad


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_slow_model(tmp_path_factory.mktemp("slow") / "kidney.onnx", products=4)


def test_a_run_that_was_killed_goes_on_and_ends_like_one_that_was_not(
    slow: Path, dicom: bytes, tmp_path: Path
) -> None:
    archive = fill(tmp_path / "archive", 300, dicom)
    out = tmp_path / "out"
    command = [archive.folder, "--model", slow, "--out", out]
    with subprocess.Popen(
        [*SCORE, *map(str, command)], env=environment(), stderr=subprocess.DEVNULL
    ) as first:
        deadline = time.monotonic() + LONGEST
        while not list(out.glob("slices/*.parquet")):
            assert first.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        first.send_signal(signal.SIGKILL)
    written = {path: path.stat().st_mtime_ns for path in out.glob("slices/*.parquet")}
    assert not (out / "summary.json").exists()

    assert "of them before" in score(*command)
    check(out, archive, slow)
    assert (out / "summary.json").exists()
    assert {path: path.stat().st_mtime_ns for path in written} == written

    every = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert score(*command).startswith(f"{len(archive.slices):,} slices ({len(archive.slices):,} of")
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == every


@pytest.fixture
def cluster(
    s3: Any,  # noqa: ARG001  its workers find that address
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[str]:
    """The address of a Ray head of its own, which lives as long as its standard input."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0123456789abcdef" * 4)
    with subprocess.Popen(
        [sys.executable, "-c", HEAD],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as head:  # fmt: skip
        yield head.stdout.readline().strip()
        head.stdin.close()


def test_a_cluster_scores_a_prefix_of_s3_to_another_one(
    cluster: str, s3: Any, model: Path, archive: Archive
) -> None:
    for path in [*archive.slices, *archive.bad]:
        if Path(path).exists():
            key = f"ct/{Path(path).relative_to(archive.folder)}"
            s3.put_object(Bucket="hospital", Key=key, Body=Path(path).read_bytes())
    place = "s3://hospital/scores"
    said = score("s3://hospital/ct", "--model", model, "--out", place, "--address", cluster)
    assert said.startswith(f"{len(archive.slices)} slices, bad files: {len(archive.bad) - 1}")
    host = os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")
    store = pyarrow.fs.S3FileSystem(endpoint_override=host, scheme="http", region="eu-central-1")
    table = pds.dataset("hospital/scores/slices", filesystem=store, format="parquet").to_table()
    assert {name.removeprefix("s3://hospital/ct/") for name in table["path"].to_pylist()} == {
        str(Path(path).relative_to(archive.folder)) for path in archive.slices
    }
    keys = [
        entry["Key"]
        for entry in s3.list_objects_v2(Bucket="hospital", Prefix="scores/")["Contents"]
    ]
    assert "scores/summary.json" in keys
    assert not any("salt" in key for key in keys)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["nowhere"], "Expected a folder or a list"),
        (["archive", "--out", "archive/scores"], "outside of the archive"),
        (["empty"], "Expected files in"),
        (["archive", "--window", "wide"], "Expected the name of a window"),
        (["archive", "--model", "missing.onnx"], "missing.onnx"),
    ],
)
def test_what_cannot_work_is_told_before_anything_starts(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], arguments: list[str], problem: str,
) -> None:  # fmt: skip
    """In this process: starting Python for each would take longer than the rest."""
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "1.png").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["score.py", "--model", str(model), *arguments])
    code = compile((ROOT / "scripts/score.py").read_text(), "score.py", "exec")
    with pytest.raises(SystemExit) as ended:
        exec(code, {"__name__": "__main__"})
    assert ended.value.code == 2
    assert problem in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.parquet"))


@pytest.mark.slow
def test_a_run_that_is_interrupted_says_so_and_leaves_nothing_running(
    slow: Path, dicom: bytes, tmp_path: Path
) -> None:
    archive = fill(tmp_path / "archive", 600, dicom)
    out = tmp_path / "out"
    with subprocess.Popen(
        [*SCORE, str(archive.folder), "--model", str(slow), "--out", str(out)],
        env=environment(), stderr=subprocess.PIPE, text=True,
    ) as run:  # fmt: skip
        while not list(out.glob("slices/*.parquet")):
            assert run.poll() is None
            time.sleep(0.02)
        run.send_signal(signal.SIGINT)
        said = run.stderr.read()
    assert run.returncode == 130
    assert "The same command goes on from here." in said
    assert "Traceback" not in said
    score(archive.folder, "--model", slow, "--out", out)
    check(out, archive, slow)
