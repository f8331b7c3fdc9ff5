"""Which trials a search makes; what a trial is (a cross-validation) is replaced by a formula."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from mlflow import MlflowClient
from omegaconf import DictConfig

from kidney.errors import ConfigError
from kidney.training import search as searching
from kidney.training.crossval import Pooled
from kidney.training.search import search

CONF = str(Path(__file__).parents[2] / "conf")
NONE = pd.DataFrame()


@pytest.fixture
def ask(tmp_path: Path):
    """Return a function that composes a search in a workspace of its own."""

    def composed(*overrides: str, workspace: str = "one") -> DictConfig:
        base = ["experiment=search", "model=lite0", f"workspace={tmp_path / workspace}"]
        with initialize_config_dir(CONF, version_base="1.3"):
            return compose("config", overrides=[*base, *overrides])

    return composed


class Trials:
    """Stands for cross_validate: notes each trial's settings; the lower the decay, the better."""

    def __init__(self) -> None:
        self.made: list[tuple[float, float]] = []
        self.interrupt_at = 0

    def __call__(self, cfg: DictConfig, *_: Any) -> Pooled:
        self.made.append((cfg.model.learning_rate, cfg.model.weight_decay))
        if len(self.made) == self.interrupt_at:
            raise KeyboardInterrupt
        return Pooled("a-run", {}, 1 / (1 + cfg.model.weight_decay), Path())


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> Trials:
    stands_in = Trials()
    monkeypatch.setattr(searching, "cross_validate", stands_in)
    monkeypatch.setattr(searching, "job_of_folds", lambda cfg, *_: str(cfg.seed))
    return stands_in


def test_the_best_trial_is_the_one_with_the_highest_validation_figure(ask, trials: Trials):
    cfg = ask("search.trials=12")
    best = search(cfg, NONE, {})
    decays = [decay for _, decay in trials.made]
    assert best.params["model.weight_decay"] == min(decays)
    assert best.value == 1 / (1 + min(decays))
    assert len(set(decays)) == 12
    space = cfg.search.space.model
    for values, where in zip(
        zip(*trials.made, strict=True), (space.learning_rate, space.weight_decay), strict=True
    ):
        assert where.low <= min(values) < max(values) <= where.high
    (table,) = Path(cfg.workspace).glob("runs/search-*/trials.csv")
    assert len(pd.read_csv(table)) == 12


def test_a_search_that_is_cut_off_makes_the_trials_that_it_would_have_made(ask, trials: Trials):
    search(ask("search.trials=13", workspace="undisturbed"), NONE, {})
    undisturbed, trials.made = trials.made, []
    trials.interrupt_at = 12  # after the ten that are drawn without a look at the others
    with pytest.raises(KeyboardInterrupt):
        search(ask("search.trials=13"), NONE, {})
    search(ask("search.trials=13"), NONE, {})
    assert trials.made[11] == trials.made[12], "the trial that was cut off is done again"
    assert trials.made[:11] + trials.made[12:] == undisturbed


def test_a_higher_number_goes_on_and_the_same_number_does_nothing(ask, trials: Trials):
    for number, made in ((2, 2), (2, 2), (3, 3)):
        best = search(ask(f"search.trials={number}"), NONE, {})
        assert len(trials.made) == made
    cfg = ask()
    client = MlflowClient(cfg.tracking.uri)
    experiment = client.get_experiment_by_name(cfg.tracking.experiment).experiment_id
    (run,) = client.search_runs([experiment])
    assert (run.data.tags["kind"], run.info.status) == ("search", "FINISHED")
    assert run.data.metrics == {"best_val_macro_auroc": best.value}


@pytest.mark.parametrize("change", ["seed=1", "search.space.model.weight_decay.high=2"])
def test_what_decides_the_trials_makes_another_search(ask, trials: Trials, change: str):
    search(ask("search.trials=1"), NONE, {})
    search(ask("search.trials=1", change), NONE, {})
    assert len(trials.made) == 2
    assert trials.made[0] != trials.made[1]


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("search.space=null", "a distribution of Optuna"),
        ("search.space.model.weight_decay=0.1", r"a distribution .*model\.weight_decay has none"),
        ("+search.space.model.rate=${search.space.model.weight_decay}", "no model.rate"),
        ("search.trials=0", "search.trials to be a whole number above 0"),
    ],
)
def test_a_space_that_says_nothing_is_refused(ask, trials: Trials, override: str, says: str):
    cfg = ask()
    with pytest.raises(ConfigError, match=says):
        search(ask(override), NONE, {})
    assert not trials.made
    assert not Path(cfg.workspace).exists()
