"""The artifact at work: 8-bit grey slices in, probabilities, evidence and decisions out."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
from loky import cpu_count  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnxruntime.capi import (  # type: ignore[import-untyped]
    onnxruntime_pybind11_state as runtime_errors,
)

from kidney.artifact.card import INPUT_CONTRACT, ModelCard
from kidney.artifact.decision import Decision, decide
from kidney.artifact.reader import read_artifact
from kidney.errors import ArtifactError

INPUT = INPUT_CONTRACT.name
OUTPUTS = ("probabilities", "logits", "evidence")
OPTIONAL_OUTPUTS = ("ood_score", "region", "findings", "lesions", "presence")
BATCH = 32  # most slices in one run of the graph
BATCH_PIXELS = BATCH * 512 * 512  # and most pixels, so that large pictures cannot exhaust memory

_CANNOT_OPEN = (
    runtime_errors.Fail,
    runtime_errors.InvalidArgument,
    runtime_errors.InvalidGraph,
    runtime_errors.InvalidProtobuf,
    runtime_errors.NoModel,
    runtime_errors.NoSuchFile,
    runtime_errors.NotImplemented,
    runtime_errors.RuntimeException,
)


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the model predicts for one slice; classes are in the order of the card.

    Attributes:
        probabilities: float32 (C,), 0 to 1, sum 1, calibrated.
        logits: float32 (C,).
        evidence: float32 (C, h, w); logits = evidence.mean(axis=(1, 2)) + card.bias.
        ood_score: how unlike the training data the slice is; None: this model has no such score.
        region: top, left, bottom and right in pixels of the slice, where the evidence lies; it may
            reach beyond the slice. None: all of it.
        decision: what these make by the rules of the card.
        findings: float32 (F,), probability of each of FINDINGS by itself, at even odds before;
            None: the model has no such output, and neither of those below.
        lesions: float32 (F, h, w), its logits by place.
        presence: how much of a kidney is in view, 0 to 1.
    """

    probabilities: NDArray[np.float32]
    logits: NDArray[np.float32]
    evidence: NDArray[np.float32]
    ood_score: float | None
    region: tuple[float, ...] | None
    decision: Decision
    findings: NDArray[np.float32] | None = None
    lesions: NDArray[np.float32] | None = None
    presence: float | None = None


class Predictor:
    """One opened kidney.onnx. `predict` may be called from several threads at once.

    Args:
        path: the file that export.py wrote.
        threads: how many threads compute one batch; None: one for each core of this process.
        sha256: the SHA-256 that the file must have; None: any.

    Attributes:
        card: the model card that the file carries.
        sha256: of the whole file.

    Raises:
        ArtifactError: the file is missing, damaged or foreign, see `read_artifact`, or its graph
            breaks the contract.
    """

    def __init__(
        self, path: Path, threads: int | None = None, *, sha256: str | None = None
    ) -> None:
        """Check the file, open what was checked, and hold the graph against the contract."""
        data, self.card = read_artifact(path, sha256)
        self.sha256 = hashlib.sha256(data).hexdigest()
        self._session = _open_session(data, path, session_options(threads or cpu_count()))
        _check_graph(self._session, self.card, path)
        given = {output.name for output in self._session.get_outputs()}
        # Further outputs are of use to others; what is not asked for is not computed.
        self._outputs = [name for name in (*OUTPUTS, *OPTIONAL_OUTPUTS) if name in given]

    def predict(self, slices: Sequence[NDArray[np.uint8]]) -> list[Prediction]:
        """Predict every slice, in the order given.

        Args:
            slices: uint8 arrays (H, W), 0 to 255, of any and of different sizes.

        Raises:
            ValueError: an array has another type or another number of dimensions, or the model
                returns what are no probabilities.
        """
        positions_by_size: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for position, slice_ in enumerate(slices):
            if slice_.dtype != np.uint8 or slice_.ndim != 2 or slice_.size == 0:
                raise ValueError(
                    f"Expected slices[{position}] to be a uint8 array (height, width), but got "
                    f"{slice_.dtype} {slice_.shape}; decode files with kidney.imaging."
                )
            positions_by_size[slice_.shape].append(position)

        predictions: dict[int, Prediction] = {}
        for (height, width), positions in positions_by_size.items():
            step = max(1, min(BATCH, BATCH_PIXELS // (height * width)))
            for start in range(0, len(positions), step):
                chunk = positions[start : start + step]
                # (N, 1, H, W); one slice is not copied
                batch = (
                    slices[chunk[0]][None, None]
                    if len(chunk) == 1
                    else np.stack([slices[position] for position in chunk])[:, None]
                )
                predictions.update(zip(chunk, self._run(batch), strict=True))
        return [predictions[position] for position in range(len(slices))]

    def _run(self, batch: NDArray[np.uint8]) -> list[Prediction]:
        values = self._session.run(self._outputs, {INPUT: batch})
        named: dict[str, NDArray[np.float32]] = dict(zip(self._outputs, values, strict=True))
        return [self._prediction(named, row) for row in range(len(batch))]

    def _prediction(self, outputs: dict[str, NDArray[np.float32]], row: int) -> Prediction:
        own = {name: values[row] for name, values in outputs.items()}
        score, presence = (
            float(own[name]) if name in own else None for name in ("ood_score", "presence")
        )
        return Prediction(
            probabilities=own["probabilities"],
            logits=own["logits"],
            evidence=own["evidence"],
            ood_score=score,
            region=tuple(own["region"].tolist()) if "region" in own else None,
            decision=decide(own["probabilities"], self.card.classes, self.card.rules, score),
            findings=own.get("findings"),
            lesions=own.get("lesions"),
            presence=presence,
        )


def session_options(threads: int) -> Any:
    """Return the `SessionOptions` of onnxruntime for this project.

    Args:
        threads: how many compute one batch.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # A thread that spins while it waits for its next part takes the core from other requests; one
    # that sleeps at once wakes up late. This is as long as the parts of a network are apart.
    options.add_session_config_entry("session.intra_op.spin_duration_us", "20")
    return options


def check_artifact(path: Path, sha256: str | None = None) -> ModelCard:
    """Read the card of a kidney.onnx and check it as `Predictor` would, at the price of one read.

    The graph is neither optimised nor kept, and no thread is started.

    Args:
        path: as for `Predictor`.
        sha256: as for `Predictor`.

    Raises:
        ArtifactError: as for `Predictor`.
    """
    data, card = read_artifact(path, sha256)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    _check_graph(_open_session(data, path, options), card, path)
    return card


def _open_session(data: bytes, path: Path, options: Any) -> Any:
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except _CANNOT_OPEN as error:
        raise ArtifactError(
            f"Expected {path} to be an ONNX model, but onnxruntime cannot open it: {error}",
            "Export it again with export.py of this version.",
        ) from error
    session._model_bytes = None  # onnxruntime would keep them beside the graph, for nothing here
    return session


def _check_graph(session: Any, card: ModelCard, path: Path) -> None:
    """Check that a graph keeps the contract (docs/artifact.md)."""
    inputs = [(value.name, value.type, value.shape) for value in session.get_inputs()]
    if not (
        len(inputs) == 1 and inputs[0][:2] == (INPUT, "tensor(uint8)") and _is_free(inputs[0][2])
    ):
        raise _broken(
            path, f"one input {INPUT!r} tensor(uint8) (N, 1, H, W) of any N, H and W", inputs
        )

    outputs = {value.name: value.shape for value in session.get_outputs()}
    if not set(OUTPUTS) <= set(outputs):
        raise _broken(path, f"the outputs {', '.join(OUTPUTS)}", sorted(outputs))

    count = len(card.classes)
    for name in OUTPUTS:
        shape = outputs[name]
        if len(shape) < 2 or (isinstance(shape[1], int) and shape[1] != count):
            raise _broken(path, f"{name} of shape (N, {count}, ...) for {card.classes}", shape)
    if card.rules.ood_above is not None and "ood_score" not in outputs:
        raise _broken(path, "the output ood_score, for which its card has a threshold", [*outputs])


def _is_free(shape: list[int | str | None]) -> bool:
    """Tell whether an input shape is (N, 1, H, W) with N, H and W left open."""
    if len(shape) != 4:
        return False
    batch, channels, height, width = shape
    return channels == 1 and not any(isinstance(side, int) for side in (batch, height, width))


def _broken(path: Path, expected: str, got: object) -> ArtifactError:
    return ArtifactError(
        f"Expected {path} to have {expected}, but got {got}.",
        "Export the model again with export.py of this version.",
    )
