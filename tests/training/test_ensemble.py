"""What a training is made of: one fit a validation fold, and their mean."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from safetensors.torch import load_file

from kidney.errors import ConfigError
from kidney.models.checkpoint import load_checkpoint
from kidney.pipeline.data_stages import prepare
from kidney.pipeline.train import training_spec
from kidney.training.ensemble import train
from kidney.training.fit import is_finished
from tests.helpers.small_network import BACKBONE, write_weights

CONF = str(Path(__file__).parents[2] / "conf")


def config(workspace: Path, *changes: str) -> DictConfig:
    settings = [
        f"workspace={workspace}", "data=phantom", "model=lite0", "trainer=cpu", "num_workers=0",
        f"model.backbone={BACKBONE}", f"model.weights={workspace / 'weights.safetensors'}",
        "model.image_size=64", "trainer.max_epochs=1", "augmentations=1", "slices_per_scan=2",
        "split.folds=3",
        "++data.fetch.scans_per_class=3", "++data.fetch.size=64", "++data.fetch.max_slices=3",
        "validation.min_slices_a_class=1",
        *changes,
    ]  # fmt: skip
    with initialize_config_dir(CONF, version_base="1.3"):
        return compose("config", overrides=settings)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ensemble")
    write_weights(BACKBONE, folder / "weights.safetensors")
    return folder


@pytest.fixture(scope="module")
def trained(workspace: Path) -> Any:
    cfg = config(workspace)
    spec = training_spec(cfg, *prepare(cfg))
    return spec, train(spec)


def test_every_fold_but_the_test_fold_validates_once_where_a_part_is_trained(trained: Any):
    spec, best = trained
    assert spec.validation_folds() == [1, 2]
    fold_of = spec.slices["patient"].map(spec.split.fold_of)
    assert sorted(best.validation["path"]) == sorted(spec.slices["path"][fold_of != 0])
    assert best.validation[["normal", "cyst", "tumor", "stone"]].sum(axis=1).round(4).eq(1).all()


def test_the_model_is_the_mean_of_its_fits_and_knows_its_rules(trained: Any):
    *_, best = trained
    checkpoint = load_checkpoint(best.checkpoint)
    whole, rules = checkpoint.classifier, checkpoint.rules
    fits = [
        load_checkpoint(file).classifier for file in best.checkpoint.parent.glob("*/model.ckpt")
    ]
    assert len(fits) == 2
    name = "backbone.network.layer4.0.downsample.1.weight"
    mean = torch.stack([fit.state_dict()[name] for fit in fits]).mean(dim=0)
    torch.testing.assert_close(whole.state_dict()[name], mean)
    assert not torch.equal(fits[0].state_dict()[name], fits[1].state_dict()[name])
    assert set(rules.suspect_from) == {"cyst", "tumor", "stone"}
    assert rules.ood_above > 0
    assert checkpoint.lineage.split.validation_folds == [1, 2]
    assert torch.isfinite(whole.ood.centroids).all()
    assert whole.locator.look.weight.abs().sum() > 0


def test_a_trunk_stays_what_it_was_and_a_tail_does_not(trained: Any, workspace: Path):
    *_, best = trained
    whole = load_checkpoint(best.checkpoint).classifier.state_dict()
    assert load_checkpoint(best.checkpoint).hparams.trainable == "tail"
    before = load_file(workspace / "weights.safetensors")
    torch.testing.assert_close(
        whole["backbone.network.layer3.0.conv1.weight"], before["layer3.0.conv1.weight"]
    )
    assert not torch.equal(
        whole["backbone.network.layer4.0.downsample.1.weight"],
        before["layer4.0.downsample.1.weight"],
    )


def test_a_training_that_was_cut_off_keeps_the_fits_that_were_finished(trained: Any):
    spec, best = trained
    folder = best.checkpoint.parent
    first, second = sorted(folder.glob("validation-*"))
    before = first.joinpath("model.ckpt").stat().st_mtime_ns
    best.checkpoint.unlink()  # as if it had been killed in the second fit
    second.joinpath("model.ckpt").unlink()
    again = train(spec)
    assert first.joinpath("model.ckpt").stat().st_mtime_ns == before
    assert is_finished(second)
    assert again.run_id == best.run_id
    pd.testing.assert_frame_equal(again.validation, best.validation)
    assert np.isclose(again.val_macro_auroc, best.val_macro_auroc)


def test_a_named_validation_fold_is_the_only_one(workspace: Path):
    def folds(*changes: str) -> list[int]:
        cfg = config(workspace, *changes)
        return training_spec(cfg, *prepare(cfg)).validation_folds()

    assert folds("split.validation_fold=2") == [2]
    assert folds("model.trainable=network", "model.weights=none") == [1]
    with pytest.raises(ConfigError, match="both are 0"):
        folds("split.validation_fold=0")


def test_parts_of_a_network_are_not_trained_by_several_processes(trained: Any):
    spec, _ = trained
    with pytest.raises(ConfigError, match=r"model\.trainable=network"):
        train(replace(spec, strategy="ddp_spawn"))
