import socket
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from kidney.errors import ConfigError, WeightsError
from kidney.models.backbones import Backbone, weights_identity, weights_licence
from tests.helpers.small_network import BACKBONE, IMAGE_SIZE, write_weights

THREE_WAYS = ("model.weights=PATH", "model.weights=none", "data=phantom")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(BACKBONE, tmp_path_factory.mktemp("weights") / "small.safetensors")


def first_layer(backbone: Backbone) -> torch.Tensor:
    return next(backbone.parameters()).detach()


def test_an_unknown_network_is_refused_with_names_alike():
    with pytest.raises(ConfigError, match=r"'resnet51'.*\n.*resnet5") as refused:
        Backbone("resnet51", "none", IMAGE_SIZE, [-1])
    assert "timm.list_models()" in refused.value.remedy


def test_a_name_like_no_other_is_refused_without_suggestions():
    with pytest.raises(ConfigError, match="none"):
        Backbone("qqqqqqqq", "none", IMAGE_SIZE, [-1])


def test_weights_from_a_file_are_the_files_values(weights: Path):
    with safe_open(weights, "pt") as file:
        expected = file.get_tensor("conv1.0.weight")
    assert torch.equal(first_layer(Backbone(BACKBONE, str(weights), IMAGE_SIZE, [-1])), expected)
    assert not torch.equal(first_layer(Backbone(BACKBONE, "none", IMAGE_SIZE, [-1])), expected)


def test_a_folder_serves_each_network_its_own_file(tmp_path: Path):
    names = [f"{BACKBONE}-imagenet", f"{BACKBONE}d", "resnet18.tag"]
    for name, network in zip(names, [BACKBONE, "resnet18", "resnet18"], strict=True):
        write_weights(network, tmp_path / f"{name}.safetensors")
    assert weights_identity(BACKBONE, str(tmp_path)).endswith(f" {names[0]}.safetensors")
    for network in (BACKBONE, "resnet18"):
        Backbone(network, str(tmp_path), IMAGE_SIZE, [-1])


def test_a_folder_with_no_file_or_two_for_a_network_says_what_is_there(tmp_path: Path):
    (tmp_path / "vgg16.safetensors").touch()
    with pytest.raises(WeightsError, match=r"resnet18(.|\n)*found none(.|\n)*vgg16\.safetensors"):
        Backbone("resnet18", str(tmp_path), IMAGE_SIZE, [-1])
    (tmp_path / "vgg16-other.safetensors").touch()
    with pytest.raises(WeightsError, match=r"vgg16-other\.safetensors', 'vgg16\.safetensors"):
        Backbone("vgg16", str(tmp_path), IMAGE_SIZE, [-1])


def test_missing_weights_are_named_with_three_ways_on(tmp_path: Path):
    missing = tmp_path / "nowhere.safetensors"
    with pytest.raises(WeightsError, match=r"nowhere\.safetensors does not exist") as refused:
        Backbone(BACKBONE, str(missing), IMAGE_SIZE, [-1])
    assert all(way in refused.value.remedy for way in THREE_WAYS)


def test_pickled_weights_are_refused_unopened(tmp_path: Path):
    pickled = tmp_path / "small.pth"
    pickled.write_bytes(b"nobody reads this")
    with pytest.raises(WeightsError, match=r"\.safetensors file, but got small\.pth"):
        Backbone(BACKBONE, str(pickled), IMAGE_SIZE, [-1])


@pytest.mark.parametrize("damage", ["empty", "cut", "garbage"])
def test_a_damaged_file_is_an_error_of_the_weights(tmp_path: Path, weights: Path, damage: str):
    whole = weights.read_bytes()
    content = {"empty": b"", "cut": whole[: len(whole) // 2], "garbage": b"no header" * 100}
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(content[damage])
    with pytest.raises(WeightsError, match=r"damaged\.safetensors"):
        Backbone(BACKBONE, str(damaged), IMAGE_SIZE, [-1])


@pytest.mark.parametrize("other", ["resnet18", "vgg11", "test_vit"])
def test_weights_of_another_network_are_refused_instead_of_left_out(weights: Path, other: str):
    # resnet18 shares some names but not their shapes; the others share no name at all, and a loader
    # that only skips what it does not know would train on random features.
    with pytest.raises(WeightsError, match=other):
        Backbone(other, str(weights), 160, [-1])


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """No cached weights, and a network that answers nobody; the timeouts asked for."""
    asked = []

    def refuse(_address: Any, timeout: Any = None, **_: Any) -> None:
        asked.append(timeout)
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: None)
    return asked


def test_an_unreachable_hub_is_said_soon_with_three_ways_on(offline: list[Any]):
    with pytest.raises(WeightsError, match="cannot be reached") as refused:
        Backbone(BACKBONE, "hub", IMAGE_SIZE, [-1])
    assert all(timeout is not None and timeout <= 5 for timeout in offline)
    assert offline
    assert all(way in refused.value.remedy for way in THREE_WAYS)


def test_weights_have_a_name_that_changes_with_their_values(tmp_path: Path, weights: Path):
    other = write_weights("resnet18", tmp_path / "small.safetensors")
    names = [
        weights_identity(BACKBONE, "none"),
        weights_identity(BACKBONE, "hub"),
        weights_identity("resnet18", "hub"),
        weights_identity(BACKBONE, str(weights)),
        weights_identity(BACKBONE, str(other)),
    ]
    assert len(set(names)) == len(names)
    assert names[0] == "none"
    assert names[1].startswith("hub:timm/resnet10t")
    assert names[3].endswith(" small.safetensors")


def test_the_licence_of_the_weights_is_told(tmp_path: Path, weights: Path):
    licensed = tmp_path / "licensed.safetensors"
    save_file({"x": torch.zeros(1)}, licensed, {"license": "MIT"})
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"broken")
    told = {
        given: weights_licence(weights_identity("vgg16", given))
        for given in ("none", "hub", str(weights), str(licensed), str(broken))
    }
    assert told["none"].startswith("none needed")
    assert told["hub"] == "bsd-3-clause"
    assert told[str(licensed)] == "MIT"
    assert told[str(weights)] == told[str(broken)] == "unknown: from a file; see its source"


@pytest.mark.parametrize(
    ("backbone", "file", "first"),
    [
        ("vgg16", "vgg16-conv-imagenet.fp16.safetensors", "features.0.weight"),
        (
            "tf_efficientnet_lite0",
            "tf_efficientnet_lite0-imagenet.fp16.safetensors",
            "conv_stem.weight",
        ),
    ],
)
def test_the_shared_weights_reach_the_network(shared: Path, backbone: str, file: str, first: str):
    path = shared / "weights" / file
    with safe_open(path, "pt") as opened:
        expected = opened.get_tensor(first).float()
    assert torch.equal(first_layer(Backbone(backbone, str(path), 64, [-1])), expected)
