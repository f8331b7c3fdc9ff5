"""With labels given to scans at random nothing can be learnt: a figure above chance is a leak."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from kidney.pipeline.data_stages import ingest_stage, prepare
from kidney.pipeline.train import cross_validate_stage

CONF = str(Path(__file__).parents[2] / "conf")
WEIGHTS = "tf_efficientnet_lite0-imagenet.fp16.safetensors"
# The AUROC of one class, 5 of 20 scans, has at chance a standard deviation of 0.153 (Mann-Whitney:
# sqrt((5 + 15 + 1) / (12 * 5 * 15))), the mean of four such figures about half of that. Without
# a leak it errs below rather than above a half: each scan that is held out is one less of its
# label to learn from.
CHANCE = (0.2, 0.7)
MEMORY = 0.9


@pytest.fixture(scope="module")
def ask(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., DictConfig]:
    """Return a function that composes the training of a frozen Lite0 on 20 real scans."""
    workspace = tmp_path_factory.mktemp("permutation")

    def composed(*overrides: str) -> DictConfig:
        base = [
            f"workspace={workspace}",
            f"data.source={shared / 'data/ct-kidney-mini.zip'}",
            "model=lite0", f"model.weights={shared / 'weights' / WEIGHTS}", "model.image_size=128",
            "model.trainable=head", "model.learning_rate=0.01", "augmentations=0", "split.folds=3",
            "trainer=cpu", "trainer.max_epochs=10", "num_workers=0",
        ]  # fmt: skip
        with initialize_config_dir(CONF, version_base="1.3"):
            return compose("config", overrides=[*base, *overrides])

    return composed


@pytest.fixture(scope="module")
def shuffled(ask: Callable[..., DictConfig], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The override that gives each scan the label of another, all slices of a scan the same."""
    slices = ingest_stage(ask())
    labels = slices.groupby("scan")["label"].first()
    assert (slices.groupby("scan")["label"].nunique() == 1).all()
    label_of = dict(zip(labels.index, np.random.default_rng(0).permutation(labels), strict=True))
    table = tmp_path_factory.mktemp("labels") / "shuffled.csv"
    slices = slices.assign(label=slices["scan"].map(label_of))
    slices[["path", "label", "scan"]].to_csv(table, index=False)
    return f"data.labels={table}"


def macro_auroc(cfg: DictConfig) -> float:
    ingest_stage(cfg)
    pooled = cross_validate_stage(cfg, *prepare(cfg))
    return float(pooled.result.figures["macro_auroc"].value)


def test_by_patient_the_figures_of_shuffled_labels_are_at_chance(ask, shuffled: str):
    low, high = CHANCE
    assert low < macro_auroc(ask(shuffled)) < high


def test_on_random_slices_memory_makes_them_far_better(ask, shuffled: str):
    """The same labels on the split that leaks: the test above can fail."""
    assert macro_auroc(ask(shuffled, "split=leaky")) > MEMORY
