from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hydra import compose, initialize_config_dir

from kidney.artifact.predictor import check_artifact
from kidney.errors import ArtifactError
from kidney.pipeline.promote import promote, roll_back_champion
from kidney.tracking.registry import Version, champion
from kidney.tracking.runs import CROSS_VALIDATION, Tracking, end_run, log_result, start_run
from tests.helpers.evaluated_artifact import write_evaluated

CONF = str(Path(__file__).parents[2] / "conf")
_numbers = count()


class Registry:
    """A registered model of a test's own, and artifacts to promote."""

    def __init__(self, workspace: Path) -> None:
        self.workspace = workspace
        self.name = f"kidney-{next(_numbers)}"
        self.tracking = Tracking(f"sqlite:///{workspace}/mlflow.db", "kidney")

    def write(self, run: str, skill: float, **differs: Any) -> str:
        write_evaluated(self.workspace / self.name / run, run, skill, **differs)
        return run

    def run(self, parent: str | None = None, **tags: str) -> str:
        return start_run(self.tracking, "run", tags, parent)

    def promote(self, run: str, *settings: str, named: bool = True) -> str:
        folder = self.workspace / self.name / run
        evaluation = [f"registry.evaluation={folder}"] if named else []
        artifact = folder / "kidney.onnx"
        cfg = self.settings(*evaluation, *settings)
        return promote(cfg, artifact, check_artifact(artifact))

    def refused(self, run: str, *settings: str) -> str:
        before = champion(self.tracking, self.name)
        with pytest.raises(ArtifactError) as refused:
            self.promote(run, *settings)
        assert champion(self.tracking, self.name) == before
        return str(refused.value)

    def settings(self, *overrides: str) -> Any:
        base = [
            f"workspace={self.workspace}",
            f"registry.name={self.name}",
            "registry.max_ece_rise=0.1",
        ]
        with initialize_config_dir(CONF, version_base="1.3"):
            return compose("config", overrides=[*base, *overrides])

    def version(self, number: int) -> Version:
        found = self.tracking.client().get_model_version(self.name, str(number))
        return Version(number, found.run_id, found.tags)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Making a store takes seconds, so the tests of this file share one."""
    return tmp_path_factory.mktemp("workspace")


@pytest.fixture
def registry(workspace: Path) -> Registry:
    return Registry(workspace)


@pytest.fixture
def trained(registry: Registry) -> Callable[..., str]:
    """Return a function that leaves a run with its settings and its evaluation."""

    def train(skill: float, learning_rate: float, **differs: Any) -> str:
        run = registry.run()
        registry.tracking.client().log_param(run, "model.learning_rate", learning_rate)
        end_run(registry.tracking, run)
        return registry.write(run, skill, **differs)

    return train


def test_a_version_says_what_it_is_and_how_it_was_judged(registry: Registry):
    registry.promote(registry.write("first", 1.0))
    registry.promote(registry.write("better", 2.5))
    tags = registry.version(2).tags
    assert {"sha256", "code", "split", "evaluation"} <= set(tags)
    assert (tags["run"], tags["evaluation_run"], tags["data"]) == ("better", "better", "0")
    assert (tags["verdict"], tags["judged_against"]) == ("promote", "1")
    assert "The macro AUROC is better" in tags["reasons"]
    registry.refused(registry.write("same", 2.5))
    assert registry.version(3).tags["verdict"] == "keep the champion"
    assert "The macro AUROC is not better" in registry.version(3).tags["reasons"]


def test_the_champion_is_not_judged_against_itself(registry: Registry):
    registry.promote(registry.write("first", 1.0))
    assert "is the champion already" in registry.promote("first")
    assert champion(registry.tracking, registry.name).number == 1


def test_better_answers_that_are_too_sure_are_refused(registry: Registry):
    registry.promote(registry.write("modest", 0.6))
    assert "ECE is not shown to stay" in registry.refused(
        registry.write("boastful", 1.6, sharpness=6.0)
    )


def test_another_split_and_a_leaky_one_are_refused(registry: Registry):
    assert "slices of its test patients were in training" in registry.refused(
        registry.write("leaky", 3.0, name="leaky")
    )
    registry.promote(registry.write("honest", 1.0))
    assert "expected the same split" in registry.refused(
        registry.write("elsewhere", 3.0, fingerprint="another")
    )


def test_what_was_withdrawn_does_not_come_back(registry: Registry):
    registry.promote(registry.write("first", 1.0))
    registry.promote(registry.write("better", 2.5))
    assert "Version 1 of" in roll_back_champion(registry.settings())
    assert "was withdrawn at" in registry.refused("better")


def test_an_evaluation_of_another_model_is_not_borrowed(registry: Registry):
    registry.write("good", 3.0)
    folder = registry.workspace / registry.name / "good"
    said = registry.refused(registry.write("bad", 0.5), f"registry.evaluation={folder}")
    assert "Expected an evaluation of run bad" in said


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda folder: (folder / "metrics.json").unlink(), "FileNotFoundError"),
        (lambda folder: (folder / "metrics.json").write_text("{}"), "model: Field required"),
        (lambda folder: (folder / "predictions.csv").write_text("path\nx\n"), "misses"),
        (lambda folder: _swap(folder / "predictions.csv"), "to be of one evaluation"),
    ],
    ids=["missing", "empty", "no table", "of two evaluations"],
)
def test_files_that_are_no_evaluation_are_told(registry: Registry, harm: Callable, says: str):
    registry.write("first", 1.0)
    harm(registry.workspace / registry.name / "first")
    said = registry.refused("first")
    assert says in said
    assert "registry.evaluation=FOLDER" in said


def _swap(predictions: Path) -> None:
    """Exchange what is said of two classes, as another model might."""
    said = pd.read_csv(predictions)
    said[["cyst", "tumor"]] = said[["tumor", "cyst"]].to_numpy()
    said.to_csv(predictions, index=False)


def test_a_fold_is_judged_by_the_cross_validation_that_it_belongs_to(registry: Registry):
    parent = registry.run(kind=CROSS_VALIDATION)
    fold = registry.write(registry.run(parent), 2.0, fold=0)
    folder = registry.workspace / registry.name / registry.write(parent, 2.0)
    files = [folder / "metrics.json", folder / "predictions.csv"]
    log_result(registry.tracking, parent, {}, files)
    end_run(registry.tracking, parent)
    registry.promote(fold, named=False)
    tags = registry.version(1).tags
    assert (tags["run"], tags["evaluation_run"], tags["fold"]) == (fold, parent, "all")


def test_a_run_of_a_sweep_is_judged_by_its_own_test_part(registry: Registry):
    run = registry.write(registry.run(registry.run(kind="sweep")), 2.0, fold=0)
    registry.write("evaluation/by_patient", 2.0)
    folder = registry.workspace / registry.name
    (folder / run / "metrics.json").replace(folder / "evaluation/by_patient/metrics.json")
    registry.promote(run, f"artifacts={folder}", named=False)
    tags = registry.version(1).tags
    assert (tags["run"], tags["evaluation_run"], tags["fold"]) == (run, run, "0")


def test_localisation_is_taken_from_the_run_where_the_evaluation_has_none(registry: Registry):
    def located(run: str, hits: list[int]) -> str:
        paths = [f"{number}.png" for number in range(len(hits))]
        patients = [f"case_{number % 5}" for number in range(len(hits))]
        table = pd.DataFrame({"path": paths, "frame": 0, "patient": patients, "peak_inside": hits})
        file = registry.workspace / registry.name / "localisation.csv"
        table.to_csv(file, index=False)
        log_result(registry.tracking, run, {}, [file])
        return run

    registry.promote(located(registry.write(registry.run(), 1.0), [1] * 20))
    said = registry.refused(located(registry.write(registry.run(), 2.5), [0] * 20))
    assert "share of peaks inside the lesion is worse: 0.000 against 1.000" in said
    assert "The macro AUROC is better" in said


def test_the_champions_settings_can_stand_for_it_on_new_data(registry: Registry, trained):
    registry.promote(trained(1.0, 0.1))
    challenger = trained(2.5, 0.3, fingerprint="grown")
    assert "expected the same split" in registry.refused(challenger)
    again, other = (trained(1.0, rate, fingerprint="grown") for rate in (0.1, 0.2))
    stand_in = f"registry.champion_evaluation={registry.workspace / registry.name}"
    assert "has another model.learning_rate" in registry.refused(challenger, f"{stand_in}/{other}")
    said = registry.promote(challenger, f"{stand_in}/{again}")
    assert "is the champion now, instead of version 1" in said
