"""What MLflow remembers, as tables: for a look back at a sweep, never to decide."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from kidney.errors import ArtifactError
from kidney.tracking.runs import CROSS_VALIDATION, SELECTION_METRIC, Tracking, download_files

COLUMNS = ["name", "kind", "backbone", "split", "fold", "validation", SELECTION_METRIC, "parent"]
TRAINING, FIT = "training", "fit"  # tags `kind`: a training, and one of its fits
_MOST = 1000
_RESULT = "metrics.json"


def runs_table(tracking: Tracking) -> pd.DataFrame:
    """Return the finished runs, one a row by id, oldest first, with the columns COLUMNS.

    `kind` is "training", "fit" (one of a training), "cross-validation" or what else opened
    the run; `parent` is the id of the run that it belongs to, empty for none.

    Raises:
        ArtifactError: there is none.
    """
    found = tracking.client().search_runs(
        [tracking.experiment_id()],
        "attributes.status = 'FINISHED'",
        order_by=["attributes.start_time ASC"],
        max_results=_MOST,
    )
    if not found:
        raise ArtifactError(
            f"Expected finished runs of experiment {tracking.experiment!r} in {tracking.shown}, "
            "but there are none.",
            "Train first: python train.py.",
        )
    rows = [
        {
            "name": run.info.run_name,
            "kind": run.data.tags.get("kind", ""),
            "backbone": run.data.params.get("model.backbone", ""),
            "split": run.data.tags.get("split_name", ""),
            "fold": run.data.tags.get("fold", ""),
            "validation": run.data.tags.get("validation_folds", ""),
            SELECTION_METRIC: run.data.metrics.get(SELECTION_METRIC),
            "parent": run.data.tags.get("mlflow.parentRunId", ""),
        }
        for run in found
    ]
    return pd.DataFrame(rows, index=[run.info.run_id for run in found], columns=COLUMNS)


def compared(runs: pd.DataFrame) -> pd.DataFrame:
    """Return what a sweep compares: trainings and cross-validations, but not their folds."""
    kind_of_parent = runs["parent"].map(runs["kind"])
    kinds = runs["kind"].isin([TRAINING, CROSS_VALIDATION])
    chosen = runs[kinds & (kind_of_parent != CROSS_VALIDATION)]
    return chosen.sort_values(SELECTION_METRIC, ascending=False, kind="stable")


def fits_of(runs: pd.DataFrame, run_id: str) -> pd.DataFrame:
    """Return the fits that a training is the average of, or those of a cross-validation's folds.

    Args:
        run_id: of a training or of a cross-validation.
    """
    above = {run_id, *runs.index[runs["parent"] == run_id]}
    return runs[(runs["kind"] == FIT) & runs["parent"].isin(above)]


def settings_that_differ(tracking: Tracking, run_ids: Sequence[str]) -> pd.DataFrame:
    """Return the settings in which runs differ, one run a row; without columns where in none."""
    client = tracking.client()
    table = pd.DataFrame({run_id: client.get_run(run_id).data.params for run_id in run_ids}).T
    return table[[name for name in table if table[name].nunique(dropna=False) > 1]]


def curve(tracking: Tracking, run_id: str, metric: str) -> tuple[list[int], list[float]]:
    """Return the epochs, from 0, and the values of a metric of a fit; both may be empty."""
    client = tracking.client()
    epoch_of = {
        point.step: int(point.value) for point in client.get_metric_history(run_id, "epoch")
    }
    points = client.get_metric_history(run_id, metric)
    return [epoch_of.get(point.step, point.step) for point in points], [p.value for p in points]


def evaluations(tracking: Tracking, runs: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Return name -> metrics.json of those runs whose test part was evaluated.

    Raises:
        ArtifactError: of none.
    """
    found = {name: evaluation_of(tracking, str(run_id)) for run_id, name in runs["name"].items()}
    known = {str(name): result for name, result in found.items() if result}
    if not known:
        raise ArtifactError(
            f"Expected an evaluation of one of {len(runs)} runs in {tracking.shown}, but there is "
            "none.",
            "Run python scripts/evaluate.py, or train with experiment=cv.",
        )
    return known


def evaluation_of(tracking: Tracking, run_id: str) -> dict[str, Any] | None:
    """Return the metrics.json of the evaluation of a run's test part; None: not evaluated."""
    with tempfile.TemporaryDirectory() as folder:
        download_files(tracking, run_id, [_RESULT], Path(folder))
        path = Path(folder, _RESULT)
        if not path.is_file():
            return None
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return result
