"""What a look back at a sweep finds in the store."""

import json
from pathlib import Path

import pytest

from kidney.errors import ArtifactError
from kidney.tracking.history import (
    compared,
    curve,
    evaluations,
    fits_of,
    runs_table,
    settings_that_differ,
)
from kidney.tracking.runs import (
    CROSS_VALIDATION,
    SELECTION_METRIC,
    Tracking,
    end_run,
    log_parameters,
    log_result,
    start_run,
)


def finished(
    tracking: Tracking, name: str, kind: str, parent: str | None = None, area: float | None = None,
    **settings: object,
) -> str:  # fmt: skip
    run_id = start_run(tracking, name, {"kind": kind, "split_name": "by_patient"}, parent)
    log_parameters(tracking, run_id, {f"model.{key}": value for key, value in settings.items()})
    log_result(tracking, run_id, {} if area is None else {SELECTION_METRIC: area}, [])
    end_run(tracking, run_id)
    return run_id


@pytest.fixture
def sweep(tracking: Tracking) -> dict[str, str]:
    """Two cross-validations below a sweep, a fold and its fit below one of them, and a training."""
    above = finished(tracking, "sweep", "sweep")
    vit, lite = (
        finished(tracking, name, CROSS_VALIDATION, above, area, backbone=name, dropout=0)
        for name, area in (("vit", 0.8), ("lite", 0.9))
    )
    fold = finished(tracking, "fold 0", "training", lite, 0.95, backbone="lite", dropout=0)
    alone = finished(tracking, "alone", "training", None, 0.7, backbone="lite", dropout=0)
    fits = {
        name: finished(tracking, name, "fit", parent)
        for name, parent in (("fit of lite", fold), ("fit of alone", alone))
    }
    start_run(tracking, "cut off", {"kind": "training"})
    return {"vit": vit, "lite": lite, "alone": alone, **fits}


def test_what_a_sweep_compares_is_ranked_by_validation_and_holds_no_folds(tracking, sweep):
    tried = compared(runs_table(tracking))
    assert list(tried["name"]) == ["lite", "vit", "alone"]
    assert list(tried.index) == [sweep["lite"], sweep["vit"], sweep["alone"]]
    assert set(tried["split"]) == {"by_patient"}


def test_runs_that_did_not_finish_are_left_out(tracking, sweep):
    assert sweep
    assert "cut off" not in set(runs_table(tracking)["name"])


def test_only_settings_that_differ_are_shown(tracking, sweep):
    table = settings_that_differ(tracking, [sweep["lite"], sweep["vit"]])
    assert table.to_dict("list") == {"model.backbone": ["lite", "vit"]}
    assert table.index.to_list() == [sweep["lite"], sweep["vit"]]


@pytest.mark.parametrize(("run", "fit"), [("lite", "fit of lite"), ("alone", "fit of alone")])
def test_the_fits_of_a_run_are_found_also_below_its_folds(tracking, sweep, run: str, fit: str):
    assert list(fits_of(runs_table(tracking), sweep[run])["name"]) == [fit]


def test_a_curve_has_epochs_for_steps(tracking):
    run_id = start_run(tracking, "fit", {})
    client = tracking.client()
    for step, (epoch, loss) in enumerate([(1, 0.9), (3, 0.5)]):
        client.log_metric(run_id, "epoch", epoch, step=10 * step)
        client.log_metric(run_id, "val_loss", loss, step=10 * step)
    assert curve(tracking, run_id, "val_loss") == ([1, 3], [0.9, 0.5])
    assert curve(tracking, run_id, "unknown") == ([], [])


def test_evaluations_are_those_of_the_runs_that_have_one(tracking, sweep, tmp_path: Path):
    tried = compared(runs_table(tracking))
    with pytest.raises(ArtifactError, match="evaluation of one of 3 runs"):
        evaluations(tracking, tried)
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps({"scans": 7}))
    log_result(tracking, sweep["vit"], {}, [path])
    assert evaluations(tracking, tried) == {"vit": {"scans": 7}}


def test_a_store_without_runs_says_what_to_do(tracking):
    with pytest.raises(ArtifactError, match=r"python train\.py"):
        runs_table(tracking)
