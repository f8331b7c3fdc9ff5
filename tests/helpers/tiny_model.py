"""A kidney.onnx of a kilobyte that keeps the contract and whose answers can be foretold.

Evidence grows with brightness: a black slice is normal, a white one tumor, a mid-grey one unsure.
"""

import dataclasses
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from kidney.artifact.card import (
    INPUT_CONTRACT,
    ModelCard,
    TrainingData,
    to_metadata,
    window_contract,
)
from kidney.artifact.decision import Rules
from kidney.artifact.integrity import seal
from kidney.files import sha256
from kidney.reporting.labels import class_name

CLASSES = ("normal", "cyst", "tumor", "stone")
SIDE = 8
WEIGHTS = np.array([-6.0, 1.0, 6.0, 2.0], dtype=np.float32)  # evidence for each unit of brightness
BIAS = np.array([3.0, 0.5, -2.5, -0.5], dtype=np.float32)

CARD = ModelCard(
    classes=CLASSES,
    names={name: class_name(name) for name in CLASSES},
    input=INPUT_CONTRACT,
    window=window_contract(None),
    image_size=SIDE,
    backbone="tiny",
    weights="written by hand",
    weights_licence="Apache-2.0",
    precision="float32",
    made_from=None,
    bias=tuple(float(value) for value in BIAS),
    temperature=1.0,
    rules=Rules(
        review_below=0.7,
        suspect_from={"cyst": 0.3, "tumor": 0.1, "stone": 0.2},
        set_from={"normal": 0.15, "cyst": 0.15, "tumor": 0.15, "stone": 0.15},
        ood_above=None,
    ),
    data=TrainingData(name="none", source="none", fingerprint="0", slices=0, scans=0),
    baseline=None,
    metrics=None,
    verification=None,
    benchmark=None,
    code="0000000",
    run="tiny-run",
    created="2026-11-23T00:00:00+00:00",
    intended_use="Testing the software.",
    limits="It knows nothing about kidneys and only measures brightness.",
)


def write_tiny_model(path: Path, *, card: ModelCard | None = CARD, ood_score: bool = False) -> Path:
    """Write the model to `path` and return the path; without a card if `card` is None."""
    model = tiny_model(ood_score=ood_score)
    if card is None:
        onnx.save(model, path)
        return path
    onnx.checker.check_model(model, full_check=True)
    return save_sealed(model, path, card)


def write_int8_beside(artifact: Path) -> Path:
    """Write a file that says it is the artifact in int8; return its path."""
    card = dataclasses.replace(CARD, precision="int8", made_from=sha256(artifact))
    return write_tiny_model(artifact.with_name("kidney.int8.onnx"), card=card)


def save_sealed(model: onnx.ModelProto, path: Path, card: ModelCard = CARD) -> Path:
    """Write any model as export.py does, with a card and the digest of itself; return the path."""
    helper.set_model_props(model, to_metadata(card))
    onnx.save(model, path)
    seal(path)
    return path


def tiny_model(*, ood_score: bool = False) -> onnx.ModelProto:
    """Take uint8 (N, 1, H, W) -> 8 x 8 brightness -> 1 x 1 convolution -> mean -> softmax."""
    constants: dict[str, np.ndarray] = {
        "maximum": np.array(255, dtype=np.float32),
        "sizes": np.array([SIDE, SIDE], dtype=np.int64),
        "weights": WEIGHTS.reshape(-1, 1, 1, 1),
        "bias": BIAS,
        "space": np.array([2, 3], dtype=np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["slices"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["float", "maximum"], ["scaled"]),
        helper.make_node(
            "Resize", ["scaled", "", "", "sizes"], ["small"], mode="linear", axes=[2, 3]
        ),
        helper.make_node("Conv", ["small", "weights"], ["evidence"]),
        helper.make_node("ReduceMean", ["evidence", "space"], ["mean"], keepdims=0),
        helper.make_node("Add", ["mean", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    count = len(CLASSES)
    shapes: dict[str, list[int | str]] = {
        "probabilities": ["N", count],
        "logits": ["N", count],
        "evidence": ["N", count, SIDE, SIDE],
    }
    if ood_score:
        constants["all_but_slices"] = np.array([1, 2, 3], dtype=np.int64)
        nodes.append(
            helper.make_node("ReduceMax", ["small", "all_but_slices"], ["ood_score"], keepdims=0)
        )
        shapes["ood_score"] = ["N"]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("slices", TensorProto.UINT8, ["N", 1, "H", "W"])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in shapes.items()
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
