"""All backbones in one sweep, as runs of one parent."""

import sqlite3
import sys

import pytest

from tests.pipeline.conftest import PHANTOM

BACKBONES = {
    "lite0": "tf_efficientnet_lite0",
    "vit": "vit_small_patch14_dinov2",
    "vgg16": "vgg16",
    "resnet50": "resnet50",
    "inception_v3": "inception_v3",
}


@pytest.mark.parametrize(
    "names",
    [["lite0", "vit"], pytest.param([*BACKBONES], marks=pytest.mark.slow)],
    ids=["two", "every"],
)
def test_a_smoke_sweep_trains_backbones_below_one_parent(pipeline, names):
    (pipeline.folder / "smoke.db").unlink(missing_ok=True)
    pipeline.run(
        sys.executable, "train.py", "-m", f"model={','.join(names)}",
        "trainer=smoke", *PHANTOM, "split.folds=3", "batch_size=2", "model.image_size=84",
        "trainer.limit_train_batches=1", "trainer.limit_val_batches=1",
        "tracking.uri=sqlite:///smoke.db",
    )  # fmt: skip
    with sqlite3.connect(pipeline.folder / "smoke.db") as store:
        trainings = store.execute(
            "select params.value, parents.value from params "
            "join tags as kinds using (run_uuid) join tags as parents using (run_uuid) "
            "where params.key = 'model.backbone' and kinds.key = 'kind' "
            "and kinds.value = 'training' and parents.key = 'mlflow.parentRunId'"
        ).fetchall()
        statuses = store.execute("select distinct status from runs").fetchall()
    assert len({parent for _, parent in trainings}) == 1
    assert {name for name, _ in trainings} == {BACKBONES[name] for name in names}
    assert statuses == [("FINISHED",)]


@pytest.mark.slow
def test_two_processes_make_one_run(pipeline):
    pipeline.run(
        sys.executable, "train.py", *PHANTOM, "split.folds=3", "model=tiny", "num_workers=0",
        "model.image_size=32", "trainer=ddp", "trainer.accelerator=cpu", "trainer.max_epochs=1",
        "tracking.experiment=ddp",
    )  # fmt: skip
    with sqlite3.connect(pipeline.folder / "mlflow.db") as store:
        runs = store.execute(
            "select runs.status from runs join experiments using (experiment_id) "
            "where experiments.name = 'ddp'"
        ).fetchall()
    assert runs == [("FINISHED",)] * 2  # the training and its one fit, each opened once
