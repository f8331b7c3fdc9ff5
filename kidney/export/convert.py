"""kidney.onnx in float32 -> the same in int8 or float16, where the two agree.

The files are compared on slices of the test part: on slices that training has seen the evidence is
more decided than on others. On EfficientNet-Lite0 its peak stayed in place on 95 % of the training
slices and on 86 % of the test slices. What is chosen there is only how near a file stays to its
original; the figures on its card are its own.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray

from kidney.artifact.card import Benchmark, ConversionVerification, ModelCard
from kidney.artifact.predictor import Prediction, Predictor
from kidney.artifact.reader import read_artifact
from kidney.evaluation.metrics.classification import macro_auroc
from kidney.export.benchmark import benchmark
from kidney.export.build import benchmark_line, converted_path, metrics_of, utc_now
from kidney.export.onnx import BACKBONE, quantize, recipes, write_onnx
from kidney.export.verify import Slices
from kidney.files import sha256, whole_file

MAX_AUROC_LOST = 0.002  # macro, on slices of scans that training has not seen
LEAST_PEAKS_KEPT = 0.95  # share of slices

# Predictions of the test part -> their evaluation, as `metrics_of` reads it.
FiguresOf = Callable[[Sequence[Prediction]], dict[str, Any]]


class Agreement(NamedTuple):
    """Two files on the same slices."""

    auroc: float  # macro AUROC of the second
    auroc_lost: float  # that of the first less that; below 0 where the second is better
    # share of slices on which the evidence for the class that the first file finds most probable
    # has its peak in the same cell or one beside it
    peaks_kept: float
    same_class: float  # share of slices with the same most probable class
    largest_change: float  # largest difference of a probability

    def violations(self) -> str:
        """Name the limits that are missed, with the figures; "" where both are kept."""
        missed = []
        if not self.auroc_lost <= MAX_AUROC_LOST:
            missed.append(f"macro AUROC falls by {self.auroc_lost:.4f}, more than {MAX_AUROC_LOST}")
        if not self.peaks_kept >= LEAST_PEAKS_KEPT:
            missed.append(
                f"the peak of the evidence stays in place on {self.peaks_kept:.1%} of the slices, "
                f"less than {LEAST_PEAKS_KEPT:.0%}"
            )
        return " and ".join(missed)

    def __str__(self) -> str:
        return (
            f"macro AUROC {-self.auroc_lost:+.4f}, evidence in place on {self.peaks_kept:.1%}, "
            f"same class on {self.same_class:.1%}"
        )


def agreement(
    original: Sequence[Prediction],
    converted: Sequence[Prediction],
    labels: NDArray[np.int64],
) -> Agreement:
    """Compare the predictions of two files on the same N slices."""
    before, after = (
        np.stack([one.probabilities for one in predictions])
        for predictions in (original, converted)
    )
    auroc, kept = (macro_auroc(labels, one) for one in (before, after))
    return Agreement(
        auroc=kept,
        auroc_lost=auroc - kept,
        peaks_kept=peaks_kept(original, converted),
        same_class=float((before.argmax(axis=1) == after.argmax(axis=1)).mean()),
        largest_change=float(np.abs(before - after).max()),
    )


def peaks_kept(original: Sequence[Prediction], converted: Sequence[Prediction]) -> float:
    """Return the share of slices whose peak of evidence moves by at most one cell.

    It is the peak for the class that the original finds most probable: what the overlay shows.
    """
    moved = [
        np.abs(_peak(before, top) - _peak(after, top)).max()
        for before, after in zip(original, converted, strict=True)
        for top in [int(before.probabilities.argmax())]
    ]
    return float(np.mean(np.array(moved) <= 1))


def _peak(prediction: Prediction, class_: int) -> NDArray[np.int64]:
    of_class = prediction.evidence[class_]
    return np.array(np.unravel_index(int(of_class.argmax()), of_class.shape))


class _MissedError(Exception):
    """A limit is missed: which, and by how much."""


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
        precision: "int8" or "float16".
        training: (H, W), of the training part, on which ranges of activations are measured.

    Returns:
        The result for people: by how much it misses where it is refused.
    """
    path = converted_path(original, precision)
    path.unlink(missing_ok=True)
    card = dataclasses.replace(
        read_artifact(original)[1],
        precision=precision,
        made_from=sha256(original),
        created=utc_now(),
    )
    try:
        with whole_file(path) as temporary:
            recipe, model, predictions, compared = _first_that_agrees(
                original, card, training, slices, labels, temporary
            )
            measured = _benchmark(original, temporary)
            card = dataclasses.replace(
                card,
                metrics=metrics_of(figures_of(predictions)),
                verification=ConversionVerification(
                    recipe=recipe, slices=len(slices), **compared._asdict()
                ),
                benchmark=measured,
            )
            write_onnx(model, card, temporary)
    except _MissedError as missed:
        return f"{path} is not written: {missed}. Use {original}."
    return (
        f"{benchmark_line(path, measured)}; {measured.speed:.2f} times as fast as float32. On "
        f"{len(slices)} slices of the test part: {compared}"
    )


def _benchmark(original: Path, converted: Path) -> Benchmark:
    (alone,) = benchmark([converted])
    before, after = benchmark([original, converted])
    return dataclasses.replace(alone, speed=round(before.milliseconds / after.milliseconds, 2))


def _first_that_agrees(
    original: Path,
    card: ModelCard,
    training: Slices,
    slices: Slices,
    labels: NDArray[np.int64],
    path: Path,
) -> tuple[str, onnx.ModelProto, list[Prediction], Agreement]:
    """Try the recipes until one keeps the limits; return it, its graph, and what it predicts."""
    before = Predictor(original).predict(slices)
    best, missed = -1.0, ""
    for name, convert in _recipes(card.precision, onnx.load(original), training):
        model = convert()
        write_onnx(model, card, path)
        after = Predictor(path).predict(slices)
        compared = agreement(before, after, labels)
        print(f"{card.precision}, {name}: {compared}", flush=True)
        if not compared.violations():
            return name, model, after, compared
        if compared.peaks_kept > best:
            best, missed = compared.peaks_kept, compared.violations()
    raise _MissedError(f"on {len(slices)} slices of the test part, at best, {missed}")


def _recipes(
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
