"""Whole archives through the real command line: killed, resumed, repeated, and on a cluster."""

import ast
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as pds
import pyarrow.fs
import pytest

from kidney.artifact.predictor import Predictor
from kidney.imaging.slices import read_slices
from kidney.imaging.windows import ABDOMEN
from tests.helpers.pictures import encode, gradient
from tests.helpers.scaling_page import PAGE, PYTHON, command
from tests.helpers.tiny_model import CARD
from tests.scoring.conftest import Archive, fill

ROOT = Path(__file__).parents[2]
HEAD = """
import sys
import ray
head = ray.init("local", num_cpus=2, include_dashboard=False, object_store_memory=80 << 20)
print(head.address_info["gcs_address"], flush=True)
sys.stdin.read()
"""
LONGEST = 900  # seconds; longer is a hang, however busy the machine is


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def run(words: list[str], folder: Path) -> str:
    done = subprocess.run(
        words, cwd=folder, env=environment(), timeout=LONGEST,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
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
    probabilities = [[row[f"probability_{name}"] for name in CARD.classes] for row in found]
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
    assert {row["path"]: row["kind"] for row in rows(out, "errors")} == archive.bad


@contextmanager
def unending(words: list[str], archive: Archive, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a run that waits for the last file of the archive; yield once a part is there."""
    last = archive.folder / "zz.png"
    os.mkfifo(last)  # to read it takes until somebody writes
    with subprocess.Popen(
        words, cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True
    ) as started:
        deadline = time.monotonic() + LONGEST
        while not list(folder.glob("scores/slices/*.parquet")):
            assert started.poll() is None, started.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield started
    last.unlink()
    last.write_bytes(encode(gradient()))
    archive.slices[str(last)] = 1


@pytest.fixture
def project(tmp_path: Path, model: Path, dicom: bytes) -> tuple[Path, Archive]:
    """A folder as the page expects it, and its archive, which is more than a chunk."""
    (tmp_path / "artifacts").mkdir()
    shutil.copy(model, tmp_path / "artifacts" / "kidney.onnx")
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    return tmp_path, fill(tmp_path / "archive", 250, dicom)


def test_a_run_that_was_killed_goes_on_and_ends_like_one_that_was_not(
    project: tuple[Path, Archive], model: Path
) -> None:
    folder, archive = project
    out = folder / "scores"
    words = command("score.py archive")
    with unending(words, archive, folder) as first:
        first.kill()
    written = {path: path.stat().st_mtime_ns for path in out.glob("slices/*.parquet")}
    assert not (out / "summary.json").exists()

    assert "of them before" in run(words, folder)
    check(out, archive, model)
    assert (out / "summary.json").exists()
    assert {path: path.stat().st_mtime_ns for path in written} == written

    every = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    count = len(archive.slices)
    assert run(words, folder).startswith(f"{count} slices ({count} of them before)")
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == every

    counted = ast.literal_eval(run([sys.executable, "-c", PYTHON], folder))
    assert sum(row["path_count"] for row in counted) == count
    messages = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| `.*$", PAGE, re.M))))
    for name in rows(out)[0]:
        assert ("probability_CLASS" if name.startswith("probability_") else name) in messages


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
    cluster: str, s3: Any, model: Path, archive: Archive, tmp_path: Path
) -> None:
    for path in [*archive.slices, *archive.bad]:
        if Path(path).exists():
            key = f"ct/{Path(path).relative_to(archive.folder)}"
            s3.put_object(Bucket="hospital", Key=key, Body=Path(path).read_bytes())
    words = command("score.py s3://", **{"HEAD:6379": cluster})
    words[words.index("--model") + 1] = str(model)
    words[1] = str(ROOT / words[1])
    output = run(words, tmp_path)
    assert output.startswith(f"{len(archive.slices)} slices, bad files: {len(archive.bad) - 1}")
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
def test_what_cannot_work_is_reported_before_anything_starts(
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
def test_a_run_that_is_interrupted_says_so_and_goes_on(
    project: tuple[Path, Archive], model: Path
) -> None:
    folder, archive = project
    words = command("score.py archive")
    with unending(words, archive, folder) as first:
        first.send_signal(signal.SIGINT)
        output = first.stderr.read()
    assert first.returncode == 130
    assert "The same command goes on from here." in output
    assert "Traceback" not in output
    run(words, folder)
    check(folder / "scores", archive, model)
