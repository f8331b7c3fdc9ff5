"""What figures and splits are called, on the page, in the card and in the summary alike."""

from collections.abc import Iterator

from kidney.artifact.decision import findings
from kidney.evaluation.result import EvaluationResult
from kidney.reporting.labels import out_of_100

LEAKY = "leaky"  # the split that has slices of one scan in training and test
EXTERNAL = "external"
INTERVALS = "95 % intervals over whole patients"

MEANINGS = {
    "Accuracy": "share of slices or scans whose most probable class is the true one",
    "Recall": "the same among the slices or scans of one class",
    "Balanced accuracy": "mean of the recalls, so that a rare class counts as much as a frequent "
    "one",
    "AUROC": "chance that a case of the class gets a higher probability of it than a case of "
    "another class; 0.5 is guessing, 1 is never wrong",
    "Macro AUROC": "mean of the classes' AUROCs",
    "Loss": "mean of -log(probability of the true class); lower is better",
    "Sensitivity": "share of the slices with a finding that reach its operating point, the "
    "probability from which it cannot be excluded",
    "Specificity": "share of the slices without the finding that stay below its operating point",
    "Expected calibration error": "mean distance between the predicted probability and the share "
    "that is right; 0 is perfect",
    "Prediction set": "the classes that cannot be excluded together; it should hold the true one "
    "as often as was asked for, with as few classes as that allows",
    "Answered without review": "share of slices that get a class, not 'needs review' or 'not a "
    "kidney CT'",
    "Area under risk-coverage": "mean share of errors over all shares of predictions accepted, the "
    "most confident first; lower is better",
}


def split_words(result: EvaluationResult) -> str:
    """Return which slices the figures are of: split, fold, part and how many."""
    split = result.split
    which = f"fold {split.fold} of {split.folds}"
    if split.fold == "all":
        which = f"all {split.folds} folds pooled" if split.folds > 1 else "undivided"
    return f"split {split.name}, {which}, part {split.part}: {counts_words(result)}"


def counts_words(result: EvaluationResult) -> str:
    """Return how many slices, scans and patients there are."""
    return f"{result.slices:,} slices of {result.scans:,} scans of {result.patients:,} patients"


def summary(result: EvaluationResult, random: EvaluationResult | None = None) -> str:
    """Describe in plain words how good the model is, its weakest side included.

    Args:
        random: the same for the leaky split; its accuracy stands beside that of `result`.
    """
    return " ".join(_sentences(result, random))


def _sentences(result: EvaluationResult, random: EvaluationResult | None) -> Iterator[str]:
    figures, by_scan = result.figures, result.scan_figures
    yield _opening(result)
    yield (
        f"It predicts the right class for {out_of_100(figures['accuracy'], 'slices')} and, with "
        f"all slices of a scan together, for {out_of_100(by_scan['accuracy'], 'scans')}."
    )
    if recalls := result.known("recall", result.classes):
        weakest = min(recalls, key=lambda name: recalls[name].value or 0.0)
        yield (
            f"It is weakest on {weakest}: it recognises "
            f"{out_of_100(recalls[weakest], 'such slices')}."
        )
    if alarms := result.known("sensitivity", findings(result.classes)):
        worst = min(alarms, key=lambda name: alarms[name].value or 0.0)
        flagged = out_of_100(alarms[worst], f"slices with {worst}")
        clear = figures[f"specificity_{worst}"]
        spared = (
            f", and spares {out_of_100(clear, 'slices without it')}"
            if clear.value is not None
            else ""
        )
        yield (
            "Used as an alarm, which asks only whether a finding can be excluded, it misses most "
            f"often {worst}: it flags {flagged}{spared}."
        )
    if figures["answered_accuracy"].value is None:
        yield "It leaves every slice to a radiologist."
    else:
        yield (
            f"It answers {out_of_100(figures['answered'], 'slices')} itself, and of these answers "
            f"{out_of_100(figures['answered_accuracy'], 'are right')}; the rest it leaves to a "
            "radiologist."
        )
    if random is not None:
        yield (
            "The same recipe on a random split of slices predicts the right class for "
            f"{out_of_100(random.figures['accuracy'], 'slices')}: there training saw neighbours of "
            "the test slices, and the difference is memory, not medicine."
        )
    yield (
        f"In brackets are 95 % intervals over patients; there are {result.patients:,} of them, "
        "so read both ends. Research only: nothing here is fit for a diagnosis."
    )


def _opening(result: EvaluationResult) -> str:
    counts = counts_words(result)
    if result.split.name == EXTERNAL:
        return (
            f"The model was tested on {counts} from elsewhere; whether training saw them is not "
            "known."
        )
    if result.split.fold == "all":
        return (
            f"Each of {counts} was predicted by a model whose training had seen nothing of that "
            "patient."
        )
    return f"The model was tested on {counts}. No scan of the test part was seen in training."
