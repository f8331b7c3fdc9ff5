from pathlib import Path
from typing import Any

import pytest
import torch

from kidney.errors import ConfigError
from kidney.models.task import KidneyTask
from tests.helpers.small_network import BACKBONE, CLASSES, random_slices, small_task, write_weights


@pytest.fixture(scope="module")
def frozen_task(tmp_path_factory: pytest.TempPathFactory) -> KidneyTask:
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    return small_task(trainable="head", weights=str(write_weights(BACKBONE, path)))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"trainable": "head", "weights": "none"}, "model.weights=none"),
        ({"trainable": "some"}, "model.trainable .* 'some'"),
        ({"backbone_lr_scale": 1.5}, "model.backbone_lr_scale"),
        ({"dropout": 1.0}, "model.dropout"),
        ({"learning_rate": "abc"}, "model.learning_rate .* 'abc'"),
        ({"learning_rate": -1e-3}, "model.learning_rate"),
        ({"learning_rate": 0}, "model.learning_rate"),
        ({"learning_rate": float("nan")}, "model.learning_rate"),
        ({"learning_rate": float("inf")}, "model.learning_rate"),
        ({"learning_rate": True}, "model.learning_rate"),
        ({"weight_decay": -1}, "model.weight_decay"),
        ({"image_size": 8}, "model.image_size"),
        ({"image_size": 64.5}, "model.image_size"),
        ({"backbone": "resnet51"}, "model.backbone"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_settings_that_cannot_work_are_refused_by_name(settings: dict[str, Any], says: str):
    with pytest.raises(ConfigError, match=says) as refused:
        small_task(**settings)
    assert "model." in str(refused.value.remedy) or "timm" in refused.value.remedy


def batch_of(task: KidneyTask, kind: str) -> dict[str, torch.Tensor]:
    slices = random_slices(4).float()
    with torch.no_grad():
        value = slices if kind == "images" else task.classifier.embed(slices)
    return {kind: value, "labels": torch.arange(4)}


@pytest.mark.parametrize("kind", ["images", "features"])
def test_a_frozen_backbone_neither_learns_nor_shifts(frozen_task: KidneyTask, kind: str):
    frozen_task.eval()
    batch = batch_of(frozen_task, kind)
    before = {name: value.clone() for name, value in frozen_task.state_dict().items()}
    frozen_task.train()
    assert frozen_task.training
    assert not any(module.training for module in frozen_task.classifier.backbone.modules())

    frozen_task.zero_grad()
    torch.nn.functional.cross_entropy(frozen_task.logits(batch), batch["labels"]).backward()

    assert all(p.grad is None for p in frozen_task.classifier.backbone.parameters())
    assert frozen_task.classifier.head.weight.grad.abs().sum() > 0
    # Batch norm would change its running figures here, were it training.
    after = frozen_task.state_dict()
    of_backbone = [name for name in before if name.startswith("classifier.backbone.")]
    assert of_backbone
    assert all(torch.equal(before[name], after[name]) for name in of_backbone)


def test_a_backbone_that_is_not_frozen_learns():
    task = small_task().train()
    batch = batch_of(task, "images")
    torch.nn.functional.cross_entropy(task.logits(batch), batch["labels"]).backward()
    learns = [p for p in task.classifier.parameters() if p.requires_grad]
    assert all(p.grad is not None for p in learns)
    assert {id(p) for p in task.classifier.backbone.parameters()} <= {id(p) for p in learns}
    assert task.classifier.backbone.training


@pytest.fixture(scope="module")
def tail_task(tmp_path_factory: pytest.TempPathFactory) -> KidneyTask:
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    weights = str(write_weights(BACKBONE, path))
    return small_task(trainable="tail", stages=[3, 4], weights=weights)


def test_a_tail_learns_behind_a_trunk_that_does_not(tail_task: KidneyTask):
    tail_task.train()
    with torch.no_grad():
        features = tail_task.classifier.forward_trunk(random_slices(4).float())
    batch = {"features": features, "labels": torch.arange(4)}
    torch.nn.functional.cross_entropy(tail_task.logits(batch), batch["labels"]).backward()
    learns = {
        name for name, p in tail_task.classifier.backbone.named_parameters() if p.requires_grad
    }
    assert learns
    assert all(".layer4." in f".{name}" for name in learns)
    assert all(
        (p.grad is not None) == p.requires_grad for p in tail_task.classifier.backbone.parameters()
    )


def test_trunk_and_tail_make_the_network(tail_task: KidneyTask):
    classifier = tail_task.eval().classifier
    images = random_slices(3).float()
    with torch.inference_mode():
        whole = classifier.embed(images)
        in_parts = classifier.forward_tail(classifier.forward_trunk(images))
    torch.testing.assert_close(in_parts, whole)


@pytest.mark.parametrize(
    "settings",
    [{"stages": [-1]}, {"backbone": "vit_tiny_patch16_224", "stages": [-2, -1]}],
    ids=["one stage", "no chain of blocks"],
)
def test_a_network_without_a_tail_is_refused_by_name(settings: dict[str, Any], tmp_path: Path):
    backbone = settings.get("backbone", BACKBONE)
    weights = str(write_weights(backbone, tmp_path / "w.safetensors"))
    with pytest.raises(ConfigError, match="tail behind the first of two stages"):
        small_task(trainable="tail", weights=weights, **settings)


def test_features_and_slices_lead_to_the_same_logits(frozen_task: KidneyTask):
    frozen_task.eval()
    with torch.inference_mode():
        of_slices = frozen_task.logits(batch_of(frozen_task, "images"))
        of_features = frozen_task.logits(batch_of(frozen_task, "features"))
    assert of_slices.shape == (4, len(CLASSES))
    torch.testing.assert_close(of_slices, of_features)


def test_the_settings_of_a_task_are_plain_values(tmp_path: Path):
    task = small_task()
    torch.save(dict(task.hparams), tmp_path / "settings")
    assert torch.load(tmp_path / "settings", weights_only=True)["classes"] == CLASSES
