"""Does onnxruntime agree with torch? Checked on real slices before the file gets its name."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
import torch
from numpy.typing import NDArray

from kidney.artifact.card import INPUT_CONTRACT, Verification
from kidney.artifact.predictor import (
    INPUT,
    OPTIONAL_OUTPUTS,
    OUTPUTS,
    Prediction,
    Predictor,
)
from kidney.errors import ArtifactError
from kidney.evaluation.metrics.classification import macro_auroc
from kidney.models.classifier import KidneyClassifier
from kidney.models.classifier import Prediction as TorchPrediction
from kidney.models.lesion_classifier import LesionClassifier, LesionPrediction

# float32 rounding alone: against float64 both runtimes are off by up to 4e-5 on logits of size 10
# (EfficientNet-Lite0), which moved a probability by 1.6e-5. A wrong graph is off by 1e-3 and more.
LIMITS = {
    "probabilities": 5e-5,
    "logits": 1e-3,  # this and evidence: relative to the largest of the slice where that is above 1
    "evidence": 1e-3,
    "decomposition": 1e-4,  # logit from the mean of its evidence plus bias, relative as above
    "ood_score": 1e-3,  # relative to the score, or to the threshold where that is more
    "region": 1e-2,  # pixels
    "macro_auroc": 1e-3,
}
_FURTHER = 1e-3  # of outputs that only some models have, relative to the largest above 1
_BATCHES = (1, 3, 5)
Slices = Sequence[NDArray[np.uint8]]


def verify(
    classifier: KidneyClassifier | LesionClassifier,
    path: Path,
    slices: Slices,
    labels: NDArray[np.int64],
) -> Verification:
    """Compare onnxruntime with torch, on all outputs.

    Args:
        slices: real slices, uint8 (H, W) of any sizes. Each is predicted alone; a few also in
            batches, as they are, halved, and cut to odd sides.

    Returns:
        The largest difference of each name in LIMITS, 0 for a score that there is not, and of each
        further output; and what was tried. The macro AUROC itself is left out: where fits were
        averaged, some have seen these scans.

    Raises:
        ArtifactError: one of them is too large.
    """
    predictor = Predictor(path)
    if not slices:
        raise ArtifactError(
            "Expected slices to verify the export on, but got none.", "Ingest a data set first."
        )
    tried = [*_alone(slices), *_together(slices)]
    gaps: list[dict[str, float]] = []
    probabilities: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
    with torch.inference_mode():
        for batch in tried:
            ours = classifier(torch.from_numpy(np.stack(batch))[:, None])
            theirs = predictor.predict(batch)
            gaps += [_gaps(ours, row, one, predictor) for row, one in enumerate(theirs)]
            if len(probabilities) < len(slices):
                probabilities.append((ours.probabilities[0].numpy(), theirs[0].probabilities))
    # The maximum is NaN where any of them is, and NaN keeps no limit.
    largest = {name: float(np.max([gap[name] for gap in gaps])) for name in gaps[0]}
    aurocs = [macro_auroc(labels, np.stack(of_one)) for of_one in zip(*probabilities, strict=True)]
    largest |= _further_gaps(classifier, path, slices[: max(_BATCHES)])
    # There is no AUROC where all slices are of one class.
    largest["macro_auroc"] = 0.0 if np.isnan(aurocs).any() else abs(aurocs[0] - aurocs[1])
    check_gaps(largest)
    return Verification(
        slices=len(slices),
        batches=_BATCHES,
        sizes=tuple(sorted({f"{batch[0].shape[0]} x {batch[0].shape[1]}" for batch in tried})),
        largest=largest,
        torch=torch.__version__,
    )


def _alone(slices: Slices) -> Iterator[list[NDArray[np.uint8]]]:
    for slice_ in slices:
        yield [np.array(slice_)]


def _together(slices: Slices) -> Iterator[list[NDArray[np.uint8]]]:
    """Yield batches of equal size: the first slices as they are, halved, and cut to odd sides."""
    whole = np.array([slice_.shape for slice_ in slices]).min(axis=0)
    step = 2 if whole.min() >= 2 * INPUT_CONTRACT.smallest_side else 1
    sizes = ((whole, 1), (whole, step), (whole - 1 - whole % 2, 1))
    for count, ((height, width), step) in zip(_BATCHES, sizes, strict=True):
        some = [slices[number % len(slices)] for number in range(count)]
        yield [np.array(slice_[:height:step, :width:step]) for slice_ in some]


def _further_gaps(
    classifier: KidneyClassifier | LesionClassifier, path: Path, slices: Slices
) -> dict[str, float]:
    """Compare the outputs that a Predictor does not ask for."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    given = {output.name for output in session.get_outputs()}
    names = sorted(given - {*OUTPUTS, *OPTIONAL_OUTPUTS})
    gaps = dict.fromkeys(names, 0.0)
    for slice_ in slices if names else []:
        batch = np.array(slice_)[None, None]
        with torch.inference_mode():
            ours = classifier(torch.from_numpy(batch))
        for name, theirs in zip(names, session.run(names, {INPUT: batch}), strict=True):
            own = getattr(ours, name).numpy()
            gap = float(np.abs(own - theirs).max()) / max(1.0, float(np.abs(own).max()))
            gaps[name] = float(np.maximum(gaps[name], gap))  # NaN stays
    return gaps


def _gaps(
    ours: TorchPrediction | LesionPrediction, row: int, theirs: Prediction, predictor: Predictor
) -> dict[str, float]:
    def far(name: str, scale: float = 1.0) -> float:
        gap = np.abs(getattr(ours, name)[row].numpy() - np.asarray(getattr(theirs, name)))
        return float(gap.max()) / scale

    sums = theirs.evidence.mean(axis=(1, 2)) + np.array(predictor.card.bias)
    size = np.maximum(1.0, np.abs(theirs.logits))
    above = predictor.card.rules.ood_above
    scored = theirs.ood_score is not None and above is not None
    score = float(ours.ood_score[row])
    return {
        "probabilities": far("probabilities"),
        "logits": far("logits", float(size.max())),
        "evidence": far("evidence", max(1.0, float(np.abs(theirs.evidence).max()))),
        "decomposition": float((np.abs(sums - theirs.logits) / size).max()),
        "ood_score": far("ood_score", max(score, above or 0.0, 1e-3)) if scored else 0.0,
        "region": far("region") if theirs.region is not None else 0.0,
    }


def check_gaps(largest: dict[str, float]) -> None:
    """Check the largest differences, by the names of LIMITS, against these.

    Raises:
        ArtifactError: one is beyond its limit, or is NaN.
    """
    wrong = [
        f"{name} by {gap:g} (at most {LIMITS.get(name, _FURTHER):g})"
        for name, gap in largest.items()
        if not gap <= LIMITS.get(name, _FURTHER)
    ]
    if wrong:
        raise ArtifactError(
            f"Expected onnxruntime to agree with torch, but they differ in {', '.join(wrong)}.",
            "Nothing was exported. Export again with the pinned versions of constraints.txt.",
        )
