"""The files that every evaluation leaves: for machines, for people, and for another look."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kidney.artifact.decision import Rules, decide
from kidney.evaluation.report.cards import model_card, model_card_markdown
from kidney.evaluation.report.examples import Example
from kidney.evaluation.report.page import report_page
from kidney.evaluation.result import EvaluationResult
from kidney.files import write_text

FILES = ("metrics.json", "report.html", "predictions.csv", "model-card.json", "model-card.md")
# How predictions.csv names and describes a slice.
SLICE = ["path", "frame", "label", "scan", "patient", "phase", "plane", "width", "height"]
_TEXTS = (
    "path", "label", "scan", "patient", "phase", "plane", "part", "decision", "set", "suspected",
)  # fmt: skip


def predictions_of(
    slices: pd.DataFrame,
    classes: Sequence[str],
    probabilities: NDArray[np.floating],
    logits: NDArray[np.floating],
    rules: Rules,
    ood_scores: NDArray[np.floating] | None = None,
) -> pd.DataFrame:
    """Put what a model says of N slices, and what is decided from it, beside their names.

    Args:
        slices: N rows of the manifest.
        classes: K names.
        probabilities: float (N, K), calibrated.
        logits: float (N, K), before the temperature.
        rules: of this model.
        ood_scores: float (N,); None: the model has no such score.

    Returns:
        The columns of SLICE; for each class its probability under its name, and logit_CLASS;
        ood_score, NaN where there is none; decision, the outcome; set and suspected, names with
        spaces between.
    """
    scores = [None] * len(slices) if ood_scores is None else ood_scores.tolist()
    decisions = [
        decide(row, classes, rules, score) for row, score in zip(probabilities, scores, strict=True)
    ]
    predictions = pd.DataFrame(probabilities, columns=list(classes), index=slices.index)
    predictions[[f"logit_{name}" for name in classes]] = logits
    predictions["ood_score"] = np.array(scores, dtype=np.float64)
    predictions["decision"] = [decision.outcome for decision in decisions]
    predictions["set"] = [" ".join(decision.prediction_set) for decision in decisions]
    predictions["suspected"] = [" ".join(decision.suspected) for decision in decisions]
    return slices[SLICE].join(predictions)


def read_predictions(path: Path) -> pd.DataFrame:
    """Read a table that `predictions_of` returned and `to_csv(index=False)` wrote.

    A class or scan may be called None or 0012: texts stay what is written.
    """
    texts = dict.fromkeys(_TEXTS, str)
    return pd.read_csv(path, dtype=texts, keep_default_na=False, na_values={"ood_score": [""]})


def write_result(
    folder: Path,
    result: EvaluationResult,
    predictions: pd.DataFrame,
    examples: Sequence[Example] = (),
    *,
    random: EvaluationResult | None = None,
    external: EvaluationResult | None = None,
) -> None:
    """Write the FILES, the figures last.

    Args:
        folder: where they go.
        result: what `evaluate` returned.
        predictions: what `predictions_of` returned for the slices that `result` is about.
        examples: slices to show; see `kidney.evaluation.report.examples.worst_examples`.
        random: the result of the same recipe on the leaky split, for the page.
        external: the result of the same model on a set from elsewhere, for the page.
    """
    card = model_card(result)
    texts = {
        "predictions.csv": predictions.to_csv(index=False),
        "report.html": report_page(result, predictions, examples, random=random, external=external),
        "model-card.md": model_card_markdown(result),
        "model-card.json": json.dumps(card, indent=1, allow_nan=False) + "\n",
        "metrics.json": result.to_json(),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
