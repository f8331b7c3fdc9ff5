"""A configuration becomes a training; what cannot be trained is refused before it starts."""

from pathlib import Path

import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from optuna.distributions import FloatDistribution

from kidney.data.split import Split
from kidney.errors import ConfigError
from kidney.pipeline.train import (
    check_trainer,
    refuse_distributed_sweep,
    search_space,
    search_stage,
    training_spec,
)

CONF = str(Path(__file__).parents[2] / "conf")
SPLIT = Split("by_patient", "patient", 5, 0, "", {})


def ask(*overrides: str) -> DictConfig:
    with initialize_config_dir(CONF, version_base="1.3"):
        return compose("config", overrides=["experiment=search", "model=lite0", *overrides])


def test_a_value_reaches_the_training_that_uses_it():
    cfg = ask("model.image_size=128", "trainer.max_epochs=3", "split.fold=2", "augmentations=1")
    spec = training_spec(cfg, pd.DataFrame(), SPLIT)
    assert spec.hparams.image_size == spec.make_task.keywords["image_size"] == 128
    assert spec.make_trainer.keywords["max_epochs"] == 3
    assert (spec.fold, spec.augmentations, spec.window) == (2, 1, None)
    assert spec.parameters["split.fold"] == 2
    assert spec.with_fold(4).parameters["split.fold"] == 4


def test_smoke_runs_have_an_experiment_of_their_own():
    assert ask("trainer=smoke").tracking.experiment == "kidney-smoke"
    assert ask().tracking.experiment == "kidney"


@pytest.mark.parametrize(
    ("override", "says"),
    [("trainer=gpu", "Expected a GPU"), ("+trainer.fast_dev_run=true", "trainer=smoke")],
)
def test_a_trainer_that_cannot_make_a_run_is_refused_at_once(override: str, says: str):
    with pytest.raises(ConfigError, match=says):
        check_trainer(ask(override).trainer, gpus=0)
    check_trainer(ask("trainer=gpu").trainer, gpus=1)


def test_the_space_of_a_search_is_named_by_dotted_settings():
    space = search_space(ask())
    assert list(space) == ["model.learning_rate", "model.weight_decay", "model.dropout"]
    assert space["model.dropout"] == FloatDistribution(0.0, 0.6)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("search.space=null", "a distribution of Optuna"),
        ("search.space.model.weight_decay=0.1", r"a distribution .*model\.weight_decay has none"),
        ("+search.space.model.rate=${search.space.model.weight_decay}", "no model.rate"),
        ("search.trials=0", "search.trials to be a whole number above 0"),
    ],
)
def test_a_space_that_says_nothing_is_refused(override: str, says: str):
    with pytest.raises(ConfigError, match=says):
        search_stage(ask(override), pd.DataFrame(), SPLIT)


@pytest.mark.parametrize("strategy", ["ddp", "ddp_find_unused_parameters_true"])
def test_a_sweep_whose_jobs_would_start_the_sweep_again_is_refused(strategy: str):
    with pytest.raises(ConfigError, match="ddp_spawn"):
        refuse_distributed_sweep(strategy)


@pytest.mark.parametrize("strategy", ["auto", "ddp_spawn"])
def test_a_sweep_of_single_processes_is_not(strategy: str):
    refuse_distributed_sweep(strategy)
