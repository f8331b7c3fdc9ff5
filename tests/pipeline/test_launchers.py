"""Sweeps on several cores and machines: joblib, and commands that stand in for Slurm's."""

import os
import re
import shlex
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, read_write
from submitit.core.utils import FailedJobError

from kidney.errors import ConfigError
from kidney.pipeline.entry import _change_to_start_folder
from tests.helpers.scaling_page import COMMANDS, command
from tests.pipeline.conftest import PHANTOM, ROOT, Checkout

FAKE_SLURM = Path(__file__).parent / "fake_slurm"
QUICK = [
    "seed=0,1", *PHANTOM, "split.folds=3", "trainer=smoke", "model=tiny", "num_workers=0",
    "batch_size=2", "model.image_size=32", "trainer.limit_train_batches=1",
    "trainer.limit_val_batches=1",
]  # fmt: skip


def sweep(launcher: str) -> list[str]:
    """The page's command with a sweep that is over soon."""
    return [word for word in command(f"launcher={launcher}") if "model=" not in word] + QUICK


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("config", overrides=[*overrides], return_hydra_config=True)


@pytest.mark.parametrize(
    ("overrides", "class_"),
    [
        ([], "BasicLauncher"),
        (["launcher=joblib"], "JoblibLauncher"),
        (["launcher=slurm"], "SlurmLauncher"),
        (["launcher=slurm", "experiment=demo"], "SlurmLauncher"),
    ],
)
def test_one_word_chooses_where_a_sweep_runs(overrides: list[str], class_: str) -> None:
    cfg = composed(*overrides)
    assert cfg.hydra.launcher._target_.endswith(f".{class_}")
    assert "launcher" not in cfg  # of no concern to a training


@pytest.mark.parametrize("line", [line for line in COMMANDS if "train.py" in line])
def test_the_settings_of_the_page_are_those_of_the_configuration(line: str) -> None:
    _, _, settings = line.partition("train.py ")
    words = [word for word in settings.split() if word != "-m"]
    swept = [word.split(",")[0] for word in words]
    cfg = composed(*swept)
    if "trainer=ddp" in words:
        assert cfg.trainer.strategy == "ddp"
        assert cfg.model.trainable == "network"
        if "srun" in line or "torchrun" in line:
            assert (cfg.trainer.num_nodes, cfg.trainer.devices) == (2, 1)
    elif "experiment=search" in words:
        assert cfg.search.storage.startswith("postgresql+psycopg://")
    else:
        assert f"launcher={cfg.hydra.runtime.choices.launcher}" in words


def test_the_page_starts_ray_with_options_that_it_has() -> None:
    from ray.scripts.scripts import start

    starts = [line for line in COMMANDS if line.startswith("ray start ")]
    assert len(starts) == 2
    for line in starts:
        words = shlex.split(line.replace("$HEAD", "10.0.0.1"))[2:]
        assert start.make_context("start", [*words]).params["head"] == ("--head" in words)


def test_every_command_of_the_page_is_run_or_read_here_or_by_the_tests_of_scoring() -> None:
    known = ("train.py", "ray start ", "export RAY_AUTH_MODE=token RAY_AUTH_TOKEN=", "score.py ")
    assert [line for line in COMMANDS if not any(part in line for part in known)] == []


def test_slurm_is_asked_for_what_the_configuration_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{FAKE_SLURM}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(tmp_path))
    monkeypatch.setenv("FAKE_SLURM_ONLY_KEEPS", "1")
    cfg = composed(
        "launcher=slurm", f"workspace={tmp_path}", "hydra.job.name=train",
        "hydra.launcher.partition=gpu",
        "hydra.launcher.gpus_per_node=1", "hydra.launcher.array_parallelism=1",
        "hydra.launcher.timeout_min=90",
    )  # fmt: skip
    OmegaConf.set_readonly(cfg.hydra, False)
    launcher = Plugins.instance().instantiate_launcher(
        hydra_context=HydraContext(config_loader=None, callbacks=None),  # type: ignore[arg-type]
        task_function=print,
        config=cfg,
    )
    with pytest.raises(FailedJobError, match="only kept"):
        launcher.launch([["seed=0"], ["seed=1"]], 0)
    script = (tmp_path / "script.sh").read_text()
    asked = dict(re.findall(r"^#SBATCH --([\w-]+)=(.*)$", script, re.M))
    assert {
        "array": "0-1%1", "cpus-per-task": "4", "gpus-per-node": "1", "job-name": "train",
        "mem": "16GB", "nodes": "1", "ntasks-per-node": "1", "partition": "gpu", "time": "90",
    }.items() <= asked.items()  # fmt: skip
    assert asked["output"].startswith(f"{tmp_path}/outputs/slurm/")
    assert re.search(r"^srun .* -m submitit\.core\._submit ", script, re.M)


def test_a_job_runs_where_its_sweep_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    cfg = composed()
    with read_write(cfg.hydra.runtime):
        cfg.hydra.runtime.cwd = str(ROOT)
    HydraConfig.instance().set_config(cfg)
    _change_to_start_folder()
    assert Path.cwd() == ROOT
    with read_write(cfg.hydra.runtime):
        cfg.hydra.runtime.cwd = str(tmp_path / "of another machine")
    HydraConfig.instance().set_config(cfg)
    with pytest.raises(ConfigError, match="on this machine too"):
        _change_to_start_folder()


def check_sweep(checkout: Checkout) -> None:
    """See that two trainings, one of each seed, and their fits are below one parent."""
    with sqlite3.connect(checkout.folder / "mlflow.db") as store:
        kinds = dict(store.execute("select run_uuid, value from tags where key = 'kind'"))
        parents = dict(
            store.execute("select run_uuid, value from tags where key = 'mlflow.parentRunId'")
        )
        statuses = store.execute("select distinct status from runs").fetchall()
        seeds = store.execute("select value from params where key = 'seed' order by value")
        assert [seed for (seed,) in seeds] == ["0", "1"]
    assert sorted(kinds.values()) == ["fit", "fit", "sweep", "training", "training"]
    for run, kind in kinds.items():
        above = {"fit": "training", "training": "sweep"}.get(kind)
        assert kinds.get(parents.get(run)) == above
    assert statuses == [("FINISHED",)]


@pytest.mark.slow
def test_joblib_runs_the_jobs_beside_each_other(make_checkout) -> None:
    checkout = make_checkout()  # without data yet: one of the jobs makes them
    checkout.run(*sweep("joblib"))
    check_sweep(checkout)


@pytest.mark.slow
def test_slurm_runs_the_jobs_of_an_array(
    make_checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = make_checkout()
    monkeypatch.setenv("FAKE_SLURM", str(tmp_path))
    with monkeypatch.context() as patch:
        # The checkout puts this environment's python before the path that is found here.
        patch.setenv("PATH", f"{FAKE_SLURM}{os.pathsep}{os.environ['PATH']}")
        checkout.run(*sweep("slurm"))
    check_sweep(checkout)


DDP = [
    *PHANTOM, "split.folds=3", "model=tiny", "num_workers=0", "model.image_size=64",
    "trainer.accelerator=cpu", "trainer.max_epochs=6",
]  # fmt: skip


def auroc(checkout: Checkout, *words: str) -> float:
    """Train and return the macro AUROC on the validation part."""
    said = checkout.run(*words).stdout
    return float(re.search(r"Validation macro AUROC ([\d.]+)", said)[1])


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(make_checkout) -> None:
    """By gloo. Two take the same steps, but normalise and augment half a batch each."""
    checkout = make_checkout()
    seeds = [
        auroc(
            checkout,
            sys.executable,
            "train.py",
            "trainer=cpu",
            "batch_size=8",
            f"seed={seed}",
            *DDP,
        )
        for seed in range(4)
    ]
    words = [word for word in command("trainer.devices=2") if "batch_size" not in word]
    both = auroc(checkout, *words, "batch_size=4", *DDP)
    span = max(seeds) - min(seeds)
    assert min(seeds) - span <= both <= max(seeds) + span
    with sqlite3.connect(checkout.folder / "mlflow.db") as store:
        statuses = store.execute("select status, count(*) from runs group by status").fetchall()
    assert statuses == [("FINISHED", 10)]  # five trainings with one fit each, each opened once


@pytest.mark.slow
def test_two_machines_make_one_run(make_checkout) -> None:
    """Two that stand in for machines: each is started by itself, at the same time."""
    checkout = make_checkout()
    data = [word for word in DDP if word in PHANTOM or word.startswith("split.")]
    checkout.run(sys.executable, "scripts/ingest.py", *data)
    checkout.run(sys.executable, "scripts/split.py", *data)
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = str(one.getsockname()[1])
    machines = []
    for rank in ("0", "1"):
        words = command("torchrun", RANK=rank, HEAD="127.0.0.1")
        words = [word.replace("29500", port) for word in words]
        machines.append(
            subprocess.Popen(
                [*words, *DDP, "batch_size=4", "trainer.max_epochs=1"], cwd=checkout.folder,
                env=checkout.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )
        )  # fmt: skip
    assert [machine.wait() for machine in machines] == [0, 0]
    with sqlite3.connect(checkout.folder / "mlflow.db") as store:
        statuses = store.execute("select status, count(*) from runs group by status").fetchall()
    assert statuses == [("FINISHED", 2)]  # the training and its one fit
