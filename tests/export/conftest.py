"""A network's file, as export.py writes it before it is verified."""

import dataclasses
from pathlib import Path

import pytest
import torch

from kidney.export.onnx import to_onnx, write_onnx
from kidney.models.classifier import KidneyClassifier
from tests.helpers.small_network import CLASSES, IMAGE_SIZE, small_task
from tests.helpers.tiny_model import CARD


@pytest.fixture(scope="session")
def network() -> KidneyClassifier:
    """A small network whose evidence differs between places and classes."""
    classifier = small_task().classifier.eval()
    with torch.no_grad():
        classifier.head.weight.mul_(20)
    return classifier


@pytest.fixture(scope="session")
def file(network: KidneyClassifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    card = dataclasses.replace(
        CARD, classes=tuple(CLASSES), image_size=IMAGE_SIZE, bias=tuple(network.head.bias.tolist())
    )
    path = tmp_path_factory.mktemp("float32") / "kidney.onnx"
    write_onnx(to_onnx(network), card, path)
    return path
