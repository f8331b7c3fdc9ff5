"""A search and a sweep of cross-validations through the real command line, three levels deep."""

import os
import signal
import subprocess
import sys

import pytest
from mlflow import MlflowClient

from tests.helpers.waiting import wait_for
from tests.pipeline.conftest import PHANTOM

QUICK = [
    *PHANTOM, "split.folds=3", "model=tiny", "trainer=cpu", "trainer.max_epochs=1", "num_workers=0",
]  # fmt: skip


def tree(checkout, experiment):
    """Return the experiment's runs as (their only root, the runs below a run)."""
    client = MlflowClient(f"sqlite:///{checkout.folder}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    (root,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]

    def below(parent):
        return [
            run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id
        ]

    return root, below


@pytest.mark.slow
def test_a_search_that_was_killed_goes_on_within_its_trial(pipeline):
    search = [
        sys.executable, "train.py", "experiment=search", "search.trials=2", *QUICK,
        "model.image_size=32", "tracking.experiment=searched",
    ]  # fmt: skip
    process = subprocess.Popen(
        search, cwd=pipeline.folder, env=pipeline.environment(), stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    second = "runs/cv-*/fold-0.csv"  # the first trial's were removed at its end
    known = set()

    def second_trial_has_a_fold() -> bool:
        known.update(pipeline.folder.glob(second))
        return len(known) >= 2

    wait_for(second_trial_has_a_fold, process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    out = pipeline.run(*search).stdout
    assert "1 trials are done" in out
    assert "Resuming" in out
    assert "Fold 0 of 3" not in out
    assert "Best of the search, validation macro AUROC" in out
    root, below = tree(pipeline, "searched")
    trials = below(root)
    assert len(trials) == 2
    for trial in trials:
        assert trial.info.run_name.startswith("trial ")
        assert "model.weight_decay=" in trial.info.run_name
        assert {fold.data.tags["fold"] for fold in below(trial)} == {"0", "1", "2"}
        assert {fold.info.status for fold in below(trial)} == {"FINISHED"}
    values = [trial.data.metrics["best_val_macro_auroc"] for trial in trials]
    assert root.data.metrics["best_val_macro_auroc"] == max(values)
    assert root.info.status == "FINISHED"


@pytest.mark.slow
def test_a_sweep_with_a_job_that_cannot_work_does_the_others_and_says_so(pipeline):
    command = ["experiment=cv", "model.image_size=32,8", *QUICK]
    done = pipeline.run(
        sys.executable, "train.py", "-m", *command, "tracking.experiment=swept", check=False
    )
    assert done.returncode == 1
    assert "Expected model.image_size" in done.stderr
    root, below = tree(pipeline, "swept")
    assert root.info.status == "FAILED"
    assert "model.image_size=32,8" in root.info.run_name
    done, refused = sorted(below(root), key=lambda run: run.info.start_time)
    assert (done.info.status, refused.info.status) == ("FINISHED", "FAILED")
    assert len(below(done)) == 3
    assert not below(refused)
