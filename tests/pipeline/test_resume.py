"""A training that is killed and started again ends like one that was left alone."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys

from tests.helpers.waiting import GUARD, wait_for

TRAIN = [
    "train.py", "--config-dir", ".", "--config-name", "params", "trainer.max_epochs=8",
    "model.image_size=32", "batch_size=4",
]  # fmt: skip


def metrics(folder):
    """Return the last value of every metric and epoch, without those of time."""
    with sqlite3.connect(folder / "mlflow.db") as store:
        rows = store.execute("select key, step, value from metrics order by timestamp")
        return {(key, step): value for key, step, value in rows}


def train(folder, environment):
    return subprocess.Popen(
        [sys.executable, *TRAIN], cwd=folder,
        # Two of them run at once: threads that wait for each other would take the cores.
        env=environment | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def test_killed_and_started_again_ends_with_the_same_metrics(pipeline, tmp_path):
    folders = [tmp_path / "undisturbed", tmp_path / "killed"]
    for folder in folders:
        ignored = shutil.ignore_patterns(
            "runs", "mlflow.db", "mlartifacts", "artifacts", ".dvc", ".git", "cache"
        )
        shutil.copytree(pipeline.folder, folder, ignore=ignored)
    undisturbed, killed = folders

    left_alone = train(undisturbed, pipeline.environment())
    process = train(killed, pipeline.environment())
    wait_for(lambda: list(killed.glob("runs/*/*/resume.ckpt")), process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert list(killed.glob("runs/*/*/resume.ckpt")), "it ended before it could be killed"

    process = train(killed, pipeline.environment())
    out, _ = process.communicate(timeout=GUARD)
    assert process.returncode == 0, out
    assert "Resuming" in out
    out, _ = left_alone.communicate(timeout=GUARD)
    assert left_alone.returncode == 0, out
    expected, found = metrics(undisturbed), metrics(killed)
    # An epoch is logged after its checkpoint: of the one that was cut off a value may be missing.
    assert {key: expected[key] for key in found} == found
    last = max(step for _, step in expected)
    assert {key for key in expected if key[1] == last} <= set(found)
    assert {"best_val_macro_auroc", "val_macro_auroc"} <= {name for name, _ in found}
    with sqlite3.connect(killed / "mlflow.db") as store:
        assert set(store.execute("select status from runs")) == {("FINISHED",)}
    assert not list(killed.glob("runs/*/*/resume.ckpt"))
