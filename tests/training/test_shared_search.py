"""Processes that share the storage of a search share its trials."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from tests.helpers.postgres import postgres

ROOT = Path(__file__).parents[2]
# A trial counts as a line in a file that all processes write to. The first trial of each process
# ends once `together` lines are there, so that no process can do all trials alone.
PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from optuna.distributions import FloatDistribution
from kidney.tracking.runs import Tracking
from kidney.training.search import search

storage, workspace, notes, together, killed = sys.argv[1:]

def run_trial(params, parent, name):
    with open(notes, "a") as file:
        file.write(f"{os.getpid()}\\n")
    if killed == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    while len(Path(notes).read_text().split()) < int(together):
        time.sleep(0.02)
    return 1 / (1 + params["model.weight_decay"])

best = search(
    Path(workspace, "search-small-0123456789"), {"model.weight_decay": FloatDistribution(0.1, 1)},
    run_trial, trials=4, seed=0, storage=storage,
    tracking=Tracking(f"sqlite:///{workspace}/mlflow.db", "kidney"),
)
print(best.value)
"""


@pytest.fixture
def storage() -> Iterator[str]:
    with postgres() as url:
        yield url


def start(storage: str, workspace: Path, together: int, killed: bool = False) -> subprocess.Popen:
    notes = workspace.parent / "notes"
    arguments = [storage, workspace, notes, str(together), "killed" if killed else "alive"]
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def trials_of(storage: str) -> list[optuna.trial.FrozenTrial]:
    study = optuna.load_study(study_name="search-small-0123456789", storage=storage)
    return study.get_trials()


def test_two_processes_share_the_trials_of_one_database(storage: str, tmp_path: Path):
    processes = [start(storage, tmp_path / name, together=2) for name in ("one", "two")]
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    trials = trials_of(storage)
    done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    assert len(done) == 4
    assert len({trial.params["model.weight_decay"] for trial in done}) == 4
    assert {trial.user_attrs["worker"].split()[-1] for trial in done} == {
        str(process.pid) for process in processes
    }
    values = [float(output.split()[-1]) for output in outputs]
    assert max(values) == max(trial.value for trial in done)


def test_a_trial_of_a_killed_process_is_done_again_and_that_of_a_live_one_is_not(
    storage: str, tmp_path: Path
):
    killed = start(storage, tmp_path / "one", together=0, killed=True)
    killed.communicate()
    alive = start(storage, tmp_path / "two", together=8)  # waits in its first trial
    notes = tmp_path / "notes"
    while len(notes.read_text().split()) < 2:
        assert alive.poll() is None
        time.sleep(0.05)
    other = start(storage, tmp_path / "one", together=0)
    other.communicate()
    with notes.open("a") as file:
        file.write("go\n" * 8)
    alive.communicate()
    assert (alive.returncode, other.returncode) == (0, 0)
    trials = trials_of(storage)
    (lost,) = [trial for trial in trials if trial.state == TrialState.FAIL]
    done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    assert len(done) == 4
    assert lost.params in [trial.params for trial in done]
