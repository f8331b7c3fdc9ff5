from collections.abc import Callable
from pathlib import Path

import pytest

from kidney.errors import ArtifactError, ConfigError
from kidney.tracking.runs import (
    CHECKPOINT,
    SELECTION_METRIC,
    Tracking,
    best_run,
    can_resume,
    download_checkpoint,
    end_run,
    log_parameters,
    log_result,
    reopen_run,
    run_of,
    start_run,
    tracked_run,
)


@pytest.fixture
def trained(tracking: Tracking) -> Callable[..., str]:
    def run(
        validation: float,
        data: str = "data-1",
        split: str = "split-1",
        fold: int = 0,
        validation_fold: str = "None",
        status: str | None = "FINISHED",
        **other: float,
    ) -> str:
        tags = {"data": data, "split": split, "fold": str(fold)}
        tags["validation_folds"] = validation_fold
        run_id = start_run(tracking, "a run", tags)
        log_result(tracking, run_id, {SELECTION_METRIC: validation, **other}, [])
        if status:
            end_run(tracking, run_id, status)
        return run_id

    return run


def best(tracking: Tracking, data: str = "data-1", split: str = "split-1", fold: int = 0) -> str:
    return best_run(tracking, data, split, str(fold), "None").info.run_id


@pytest.mark.parametrize("name", ["what?x=1", "50%20off", "a#b"])
def test_a_path_that_mlflow_would_misread_is_refused(tmp_path: Path, name: str):
    with pytest.raises(ConfigError, match="none of"):
        Tracking(f"sqlite:///{tmp_path / name}/mlflow.db", "kidney").client()
    assert not list(tmp_path.iterdir())


def test_the_best_run_is_that_with_the_best_validation_figure(
    tracking: Tracking, trained: Callable[..., str]
):
    trained(0.7)
    expected = trained(0.9)
    trained(0.8)
    trained(0.09)
    assert best(tracking) == expected


def test_test_figures_play_no_part_in_the_choice(tracking: Tracking, trained: Callable[..., str]):
    expected = trained(0.8, test_macro_auroc=0.5, test_accuracy=0.1)
    trained(0.7, test_macro_auroc=0.99, test_accuracy=0.99)
    trained(0.6, test_macro_auroc=1.0)
    assert best(tracking) == expected


@pytest.mark.parametrize(
    "foreign",
    [
        {"data": "data-2"},
        {"split": "split-2"},
        {"fold": 1},
        {"status": "FAILED"},
        {"status": "KILLED"},
        {"status": None},  # still running
    ],
    ids=str,
)
def test_a_better_run_of_something_else_is_not_chosen(
    tracking: Tracking, trained: Callable[..., str], foreign: dict[str, object]
):
    expected = trained(0.6)
    trained(0.95, **foreign)
    assert best(tracking) == expected


def test_runs_of_another_experiment_are_not_chosen(store: str, trained: Callable[..., str]):
    trained(0.9)
    with pytest.raises(ArtifactError):
        best(Tracking(store, "somebody else's"))


def test_a_run_without_a_figure_is_no_candidate(tracking: Tracking, trained: Callable[..., str]):
    trained(float("nan"))
    end_run(tracking, start_run(tracking, "x", {"data": "data-1", "split": "split-1", "fold": "0"}))
    with pytest.raises(ArtifactError):
        best(tracking)
    expected = trained(0.1)
    assert best(tracking) == expected


def test_no_run_at_all_is_said_with_what_to_do(tracking: Tracking):
    with pytest.raises(ArtifactError, match="data-1 with split split-1, fold 0") as refused:
        best(tracking)
    assert "python train.py" in refused.value.remedy
    assert "checkpoint=PATH" in refused.value.remedy


def test_a_checkpoint_that_was_logged_comes_back(tracking: Tracking, tmp_path: Path):
    file = tmp_path / CHECKPOINT
    file.write_bytes(b"values")
    run_id = start_run(tracking, "a run", {})
    log_result(tracking, run_id, {}, [file])
    copy = download_checkpoint(tracking, run_id, tmp_path / "new" / "folder")
    assert copy == tmp_path / "new" / "folder" / CHECKPOINT
    assert copy.read_bytes() == b"values"


@pytest.mark.parametrize("known", [True, False], ids=["no checkpoint", "no run"])
def test_a_checkpoint_that_is_not_there_is_said(tracking: Tracking, tmp_path: Path, known: bool):
    run_id = start_run(tracking, "a run", {}) if known else "f" * 32
    with pytest.raises(ArtifactError, match=rf"{run_id} has no model\.ckpt") as refused:
        download_checkpoint(tracking, run_id, tmp_path)
    assert "checkpoint=PATH" in refused.value.remedy


@pytest.mark.parametrize("uri", ["file:./mlruns", "./mlruns", "", "databricks"])
def test_a_store_that_mlflow_no_longer_writes_is_refused(uri: str):
    with pytest.raises(ConfigError, match=r"tracking\.uri to be sqlite:///FILE") as refused:
        Tracking(uri, "kidney").experiment_id()
    assert "default" in refused.value.remedy


def test_a_run_that_was_cut_off_is_reopened(tracking: Tracking, trained: Callable[..., str]):
    run_id = trained(0.5, status="FAILED")
    assert reopen_run(tracking, run_id)
    run = tracking.client().get_run(run_id)
    assert run.info.status == "RUNNING"
    end_run(tracking, run_id)
    assert best(tracking) == run_id


def test_a_run_that_the_store_has_no_longer_is_not_reopened(
    tracking: Tracking, trained: Callable[..., str]
):
    assert reopen_run(tracking, "f" * 32) is False
    deleted = trained(0.5)
    tracking.client().delete_run(deleted)
    assert reopen_run(tracking, deleted) is False


def test_a_store_that_does_not_answer_is_not_taken_for_one_that_forgot(
    monkeypatch: pytest.MonkeyPatch,
):
    # Else training would delete the checkpoint that it could go on from.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ArtifactError, match=r"127\.0\.0\.1:9") as refused:
        reopen_run(Tracking("http://127.0.0.1:9", "kidney"), "f" * 32)
    assert "again" in refused.value.remedy


def test_parameters_of_a_resumed_run_stay_as_they_were(tracking: Tracking):
    run_id = start_run(tracking, "a run", {})
    log_parameters(tracking, run_id, {"seed": 0})
    log_parameters(tracking, run_id, {"seed": 1, "long": "x" * 9000})
    parameters = tracking.client().get_run(run_id).data.params
    assert parameters["seed"] == "0"
    assert len(parameters["long"]) == 500


def test_a_sweeps_runs_know_their_parent(tracking: Tracking):
    parent = start_run(tracking, "sweep", {})
    child = start_run(tracking, "job", {"data": "d"}, parent)
    assert tracking.client().get_run(child).data.tags["mlflow.parentRunId"] == parent


def test_files_lie_beside_the_store_wherever_the_command_runs(
    tracking: Tracking, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / CHECKPOINT
    file.write_bytes(b"values")
    run_id = start_run(tracking, "a run", {})
    log_result(tracking, run_id, {}, [file])
    beside = Path(store.removeprefix("sqlite:///")).parent / "mlartifacts"
    assert list(beside.rglob(f"{run_id}/artifacts/{CHECKPOINT}"))
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]


def status_of(tracking: Tracking, run_id: str) -> str:
    return tracking.client().get_run(run_id).info.status


def test_a_tracked_run_is_closed_and_its_folder_resumes_it(tracking: Tracking, tmp_path: Path):
    folder = tmp_path / "a-fit"
    assert not can_resume(tracking, folder)
    with tracked_run(tracking, folder, {"kind": "fit"}, parameters={"seed": 3}) as run_id:
        assert status_of(tracking, run_id) == "RUNNING"
    run = tracking.client().get_run(run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "a-fit")
    assert (run.data.tags["kind"], run.data.params) == ("fit", {"seed": "3"})
    assert can_resume(tracking, folder)
    with tracked_run(tracking, folder, {}, resume=True) as again:
        assert again == run_id == run_of(folder)
    assert not can_resume(Tracking(f"sqlite:///{tmp_path}/other.db", "kidney"), folder)


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, "KILLED"), (OSError, "FAILED")])
def test_a_tracked_run_that_is_cut_off_says_so(tracking: Tracking, tmp_path: Path, error, status):
    with pytest.raises(error), tracked_run(tracking, tmp_path, {}):  # noqa: PT012
        run_id = run_of(tmp_path)
        raise error
    assert status_of(tracking, run_id) == status
