"""kidney.onnx in float32 -> the same in int8 or float16, where that says nearly the same.

The judges are slices of the test part, since of slices that training has seen the evidence is more
decided than of others: on EfficientNet-Lite0 it stayed in place on 95 % of the training slices and
on 86 % of the test slices. What is chosen there is only how near a file stays to its original; the
figures on its card are its own.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from kidney.artifact.card import ModelCard
from kidney.artifact.predictor import Answer, Predictor
from kidney.artifact.reader import read_artifact
from kidney.export.agreement import Agreement, agreement
from kidney.export.benchmark import benchmark
from kidney.export.fill_card import now
from kidney.export.onnx import BACKBONE, write_onnx
from kidney.export.quantize import quantize, recipes
from kidney.export.summary import summary
from kidney.export.verify import Slices
from kidney.files import sha256, whole_file

# Answers to the slices of the test part -> what METRICS names of their evaluation.
FiguresOf = Callable[[Sequence[Answer]], dict[str, Any]]


class _MissedError(Exception):
    """A limit is missed: which, and by how much."""


def converted_path(original: Path, precision: str) -> Path:
    """Return where the file of another precision lies: kidney.int8.onnx beside kidney.onnx."""
    return original.with_suffix(f".{precision}{original.suffix}")


def convert_artifact(
    original: Path,
    precision: str,
    training: Slices,
    slices: Slices,
    labels: NDArray[np.int64],
    figures_of: FiguresOf,
) -> str:
    """Write the file of another precision beside the original, if it keeps the limits.

    A file that was there before is gone in either case: it was made from another original.

    Args:
        original: kidney.onnx in float32.
        precision: "int8" or "float16".
        training: (H, W), of the training part, on which ranges of activations are measured.
        slices: (H, W), of the test part.
        labels: int64, the true class index of each of `slices`.
        figures_of: evaluates answers to `slices`.

    Returns:
        What became of it, for people: by how much it misses where it is refused.
    """
    path = converted_path(original, precision)
    path.unlink(missing_ok=True)
    card = dataclasses.replace(
        read_artifact(original)[1], precision=precision, made_from=sha256(original), created=now()
    )
    try:
        with whole_file(path) as made:
            recipe, model, answers, judged = _first_that_holds(
                original, card, training, slices, labels, made
            )
            card = dataclasses.replace(
                card,
                metrics=figures_of(answers),
                verification={"recipe": recipe, "slices": len(slices), **judged._asdict()},
                benchmark=_measured(original, made),
            )
            write_onnx(model, card, made)
    except _MissedError as missed:
        return f"{path} is not written: {missed}. Use {original}."
    return (
        f"{summary(path, card)}; {card.benchmark['speed']:.2f} times as fast as float32. On "
        f"{len(slices)} slices of the test part: macro AUROC {-judged.auroc_lost:+.4f}, evidence "
        f"in place on {judged.peaks_kept:.1%}, same class on {judged.same_class:.1%}"
    )


def _measured(original: Path, made: Path) -> dict[str, Any]:
    (alone,) = benchmark([made])
    ours, theirs = benchmark([original, made])
    return {**alone, "speed": round(ours["milliseconds"] / theirs["milliseconds"], 2)}


def _first_that_holds(
    original: Path,
    card: ModelCard,
    training: Slices,
    slices: Slices,
    labels: NDArray[np.int64],
    made: Path,
) -> tuple[str, onnx.ModelProto, list[Answer], Agreement]:
    """Try the recipes until one keeps the limits; return it, its graph, answers and agreement."""
    before = Predictor(original).predict(slices)
    best, missed = -1.0, ""
    for name, convert in _ways(card.precision, onnx.load(original), training):
        model = convert()
        write_onnx(model, card, made)
        after = Predictor(made).predict(slices)
        judged = agreement(before, after, labels, card.classes)
        print(
            f"{card.precision}, {name}: macro AUROC {-judged.auroc_lost:+.4f}, evidence in place "
            f"on {judged.peaks_kept:.1%}",
            flush=True,
        )
        if not judged.misses():
            return name, model, after, judged
        if judged.peaks_kept > best:
            best, missed = judged.peaks_kept, judged.misses()
    raise _MissedError(f"on {len(slices)} slices of the test part, at best, {missed}")


def _ways(
    precision: str, model: onnx.ModelProto, training: Slices
) -> Iterator[tuple[str, Callable[[], onnx.ModelProto]]]:
    if precision == "float16":
        yield "weights in float16", partial(_halve, model)
        return
    for recipe in recipes(model):
        yield recipe.name, partial(quantize, model, recipe, training)


def _halve(model: onnx.ModelProto) -> onnx.ModelProto:
    """Keep the weights of the backbone in float16; a runtime brings them back as it opens the file.

    The sums stay in float32: processors do not add in float16, and the evidence would suffer.
    """
    halved = onnx.ModelProto()
    halved.CopyFrom(model)
    graph = halved.graph
    read = {
        name for node in graph.node if node.name.startswith(BACKBONE) for name in node.input if name
    }
    casts = []
    for value in graph.initializer:
        if value.name not in read or value.data_type != onnx.TensorProto.FLOAT:
            continue
        weights, name = onnx.numpy_helper.to_array(value), value.name
        value.CopyFrom(onnx.numpy_helper.from_array(weights.astype(np.float16), f"{name}_half"))
        casts.append(onnx.helper.make_node("Cast", [value.name], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return halved
