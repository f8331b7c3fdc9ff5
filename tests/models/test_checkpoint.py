from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from kidney.errors import ArtifactError
from kidney.models.checkpoint import load_checkpoint
from tests.helpers.small_network import (
    HPARAMS,
    LINEAGE,
    RULES,
    random_slices,
    small_task,
    write_checkpoint,
)


def test_a_checkpoint_gives_back_the_classifier_that_was_saved(tmp_path: Path):
    task = small_task().eval()
    with torch.no_grad():
        task.classifier.temperature.fill_(1.7)
        task.classifier.head.bias.fill_(0.3)
    checkpoint = load_checkpoint(write_checkpoint(task, tmp_path / "model.ckpt"))
    loaded = checkpoint.classifier
    slices = random_slices(3, 70, 50)
    with torch.inference_mode():
        for expected, got in zip(task.classifier(slices), loaded(slices), strict=True):
            # Training lays the weights out in another order: the last bit may differ.
            torch.testing.assert_close(expected, got, atol=1e-6, rtol=1e-5, equal_nan=True)
    assert not loaded.training
    assert checkpoint.hparams == HPARAMS
    assert asdict(checkpoint.lineage) == LINEAGE
    assert asdict(checkpoint.rules) == RULES


def test_a_single_fit_has_no_rules(tmp_path: Path):
    path = write_checkpoint(small_task(), tmp_path / "model.ckpt")
    content = torch.load(path, weights_only=True)
    del content["hyper_parameters"]["rules"]
    torch.save(content, path)
    with pytest.raises(ArtifactError, match="that of a single fit"):
        _ = load_checkpoint(path).rules


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path):
    marker = tmp_path / "ran"
    harmful = tmp_path / "model.ckpt"
    torch.save({"hyper_parameters": Payload(marker), "state_dict": {}}, harmful)
    with pytest.raises(ArtifactError, match=r"model\.ckpt is not a checkpoint"):
        load_checkpoint(harmful)
    assert not marker.exists()
    # The payload is real: whoever trusts the file runs it.
    torch.load(harmful, weights_only=False)
    assert marker.exists()


def test_a_missing_checkpoint_is_said_with_what_to_do(tmp_path: Path):
    with pytest.raises(ArtifactError, match=r"there is none[^$]*train\.py"):
        load_checkpoint(tmp_path / "model.ckpt")


def without_a_layer(content: dict[str, Any]) -> Any:
    del content["state_dict"]["classifier.head.weight"]
    return content


def of_another_size(content: dict[str, Any]) -> Any:
    content["state_dict"]["classifier.head.bias"] = torch.zeros(7)
    return content


def without_hparams(content: dict[str, Any]) -> Any:
    del content["hyper_parameters"]
    return content


@pytest.mark.parametrize(
    "change",
    [without_a_layer, of_another_size, without_hparams, lambda _: [1, 2], lambda _: None],
)
def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path: Path, change: Any):
    path = write_checkpoint(small_task(), tmp_path / "model.ckpt")
    torch.save(change(torch.load(path, weights_only=True)), path)
    with pytest.raises(ArtifactError, match="not a checkpoint"):
        load_checkpoint(path)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_checkpoint_that_was_cut_off_is_refused(tmp_path: Path, share: float):
    path = write_checkpoint(small_task(), tmp_path / "model.ckpt")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ArtifactError, match="not a checkpoint"):
        load_checkpoint(path)
