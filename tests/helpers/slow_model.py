"""A kidney.onnx that takes its time: the tiny model behind a product of large matrices."""

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from kidney.artifact.card import ModelCard
from tests.helpers.tiny_model import CARD, save_sealed, tiny_model

_SIDE = 512


def write_slow_model(path: Path, products: int = 8, card: ModelCard = CARD) -> Path:
    """Write it to `path` and return the path; each product takes some milliseconds of a core."""
    model = tiny_model()
    graph = model.graph
    values = np.zeros((_SIDE, _SIDE), dtype=np.float32)
    graph.initializer.append(numpy_helper.from_array(values, "zeros"))
    graph.initializer.append(
        numpy_helper.from_array(np.array([_SIDE, _SIDE], dtype=np.int64), "square")
    )
    before = [
        helper.make_node("ReduceMax", ["scaled"], ["brightest"], keepdims=0),
        helper.make_node("Expand", ["brightest", "square"], ["product0"]),
    ]
    for number in range(products):
        before.append(
            helper.make_node("MatMul", [f"product{number}", "zeros"], [f"product{number + 1}"])
        )
    before.append(helper.make_node("ReduceMax", [f"product{products}"], ["nothing"], keepdims=0))
    before.append(helper.make_node("Add", ["scaled", "nothing"], ["late"]))
    nodes = list(graph.node)
    place = next(n for n, node in enumerate(nodes) if "scaled" in node.output)
    for node in nodes[place + 1 :]:
        for position, name in enumerate(node.input):
            if name == "scaled":
                node.input[position] = "late"
    del graph.node[:]
    graph.node.extend([*nodes[: place + 1], *before, *nodes[place + 1 :]])
    onnx.checker.check_model(model, full_check=True)
    return save_sealed(model, path, card)
