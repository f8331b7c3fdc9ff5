"""Which trials a search makes; what a trial is (a cross-validation) is replaced by a formula."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial

from kidney.errors import ConfigError
from kidney.tracking.runs import Tracking
from kidney.training.search import search

SPACE = {
    "model.learning_rate": FloatDistribution(3e-4, 1e-2, log=True),
    "model.weight_decay": FloatDistribution(1e-3, 1.0, log=True),
}


class Trials:
    """Notes the hyperparameters of each trial; the lower the decay, the better."""

    def __init__(self) -> None:
        self.made: list[tuple[float, float]] = []
        self.interrupt_at = 0

    def __call__(self, params: Mapping[str, Any], _parent: str, _name: str) -> float:
        self.made.append((params["model.learning_rate"], params["model.weight_decay"]))
        if len(self.made) == self.interrupt_at:
            raise KeyboardInterrupt
        return 1 / (1 + params["model.weight_decay"])


@pytest.fixture
def trials() -> Trials:
    return Trials()


@pytest.fixture
def run(tmp_path: Path, trials: Trials) -> Callable[..., FrozenTrial]:
    """Return a function that searches in a workspace of its own."""
    tracking = Tracking(f"sqlite:///{tmp_path}/mlflow.db", "kidney")

    def searched(number: int, name: str = "one", seed: int = 0, **changes: Any) -> FrozenTrial:
        settings = {"storage": None, "tracking": tracking, **changes}
        return search(tmp_path / name, SPACE, trials, trials=number, seed=seed, **settings)

    return searched


def test_the_best_trial_is_the_one_with_the_highest_validation_figure(run, trials, tmp_path):
    best = run(12)
    decays = [decay for _, decay in trials.made]
    assert best.params["model.weight_decay"] == min(decays)
    assert best.value == 1 / (1 + min(decays))
    assert len(set(decays)) == 12
    for values, where in zip(zip(*trials.made, strict=True), SPACE.values(), strict=True):
        assert where.low <= min(values) < max(values) <= where.high
    assert len(pd.read_csv(tmp_path / "one" / "trials.csv")) == 12


def test_a_search_that_is_cut_off_makes_the_trials_that_it_would_have_made(run, trials):
    run(13, "undisturbed")
    undisturbed, trials.made = trials.made, []
    trials.interrupt_at = 12  # after the ten that are drawn without a look at the others
    with pytest.raises(KeyboardInterrupt):
        run(13)
    run(13)
    assert trials.made[11] == trials.made[12], "the trial that was cut off is done again"
    assert trials.made[:11] + trials.made[12:] == undisturbed


def test_a_higher_number_goes_on_and_the_same_number_does_nothing(run, trials, tmp_path):
    for number, made in ((2, 2), (2, 2), (3, 3)):
        best = run(number)
        assert len(trials.made) == made
    tracking = Tracking(f"sqlite:///{tmp_path}/mlflow.db", "kidney")
    (found,) = tracking.client().search_runs([tracking.experiment_id()])
    assert (found.data.tags["kind"], found.info.status) == ("search", "FINISHED")
    assert found.data.metrics == {"best_val_macro_auroc": best.value}


def test_another_seed_makes_other_trials(run, trials):
    run(1)
    run(1, "other", seed=1)
    assert trials.made[0] != trials.made[1]


def test_a_storage_that_does_not_answer_is_refused(run, trials):
    with pytest.raises(ConfigError, match=r"search\.storage to be a database that answers"):
        run(1, storage="sqlite:////no/such/folder/search.db")
    assert not trials.made
