"""What figures and splits are called, on the page, in the card and in the summary alike."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kidney.artifact.decision import findings

Result = Mapping[str, Any]  # what `evaluate` returns, with "model", "data" and "split" added

LEAKY = "leaky"  # the split that deals slices, neighbours into training and test
EXTERNAL = "external"
NOTHING = "n/a"
INTERVALS = "95 % intervals over whole patients"

MEANINGS = {
    "Accuracy": "share of answers whose most probable class is the true one",
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
    "Expected calibration error": "mean distance between the probability that is told and the "
    "share that is right; 0 is perfect",
    "Prediction set": "the classes that cannot be excluded together; it should hold the true one "
    "as often as was asked for, with as few classes as that allows",
    "Answered without review": "share of slices that get a class, not 'needs review' or 'not a "
    "kidney CT'",
    "Area under risk-coverage": "mean share of errors over all shares of answers accepted, the "
    "most confident first; lower is better",
}


def number(value: int | float | str | None) -> str:
    """Write a value: whole numbers and words as they are, others with three decimals."""
    if value is None:
        return NOTHING
    if isinstance(value, float):
        return f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else value


def value_and_interval(figure: Any) -> tuple[str, str]:
    """Write a figure as (value, interval); the interval is empty where there is none."""
    if not isinstance(figure, Mapping):
        return number(figure), ""
    if figure["value"] is None:
        return NOTHING, ""
    if figure["low"] is None:
        return number(figure["value"]), ""
    return number(figure["value"]), f"{number(figure['low'])} to {number(figure['high'])}"


def of_hundred(figure: Mapping[str, float | None], what: str) -> str:
    """Write a share of `what` with its interval for a sentence."""
    value, low, high = (
        None if share is None else f"{100 * share:.0f}"
        for share in (figure["value"], figure["low"], figure["high"])
    )
    interval = f"{low} to {high}" if low else "too few patients for an interval"
    return f"{value} of 100 {what} ({interval})"


def split_words(result: Result) -> str:
    """Say which slices the figures are of: split, fold, part and how many."""
    split = result["split"]
    fold, folds = split["fold"], split["folds"]
    which = f"fold {fold} of {folds}" if fold != "all" else f"all {folds} folds pooled"
    if fold == "all" and folds == 1:
        which = "undivided"
    return f"split {split['name']}, {which}, part {split['part']}: {counts_words(result)}"


def counts_words(result: Result) -> str:
    """Say how many slices, scans and patients there are."""
    return (
        f"{result['slices']:,} slices of {result['scans']:,} scans of {result['patients']:,} "
        "patients"
    )


def summary(result: Result, random: Result | None = None) -> str:
    """Say in plain words how good the model is, its weakest side included.

    Args:
        result: what `evaluate` returned, with "split" added.
        random: the same for the leaky split; its figure is said beside that of `result`.
    """
    return " ".join(_sentences(result, random))


def _sentences(result: Result, random: Result | None) -> Iterator[str]:
    figures, by_scan = result["figures"], result["scan_figures"]
    yield _opening(result)
    yield (
        f"It names the right class for {of_hundred(figures['accuracy'], 'slices')} and, with all "
        f"slices of a scan together, for {of_hundred(by_scan['accuracy'], 'scans')}."
    )
    recalls = _known(figures, "recall", result["classes"])
    if recalls:
        weakest = min(recalls, key=lambda name: recalls[name]["value"])
        yield (
            f"It is weakest on {weakest}: it names {of_hundred(recalls[weakest], 'such slices')}."
        )
    alarms = _known(figures, "sensitivity", findings(result["classes"]))
    if alarms:
        worst = min(alarms, key=lambda name: alarms[name]["value"])
        flagged = of_hundred(alarms[worst], f"slices with {worst}")
        clear = figures[f"specificity_{worst}"]
        spared = (
            f", and spares {of_hundred(clear, 'slices without it')}"
            if clear["value"] is not None
            else ""
        )
        yield (
            "Used as an alarm, which asks only whether a finding can be excluded, it misses most "
            f"often {worst}: it flags {flagged}{spared}."
        )
    if figures["answered_accuracy"]["value"] is None:
        yield "It leaves every slice to a radiologist."
    else:
        yield (
            f"It answers {of_hundred(figures['answered'], 'slices')} itself, and of these answers "
            f"{of_hundred(figures['answered_accuracy'], 'are right')}; the rest it leaves to a "
            "radiologist."
        )
    if random is not None:
        yield (
            "The same recipe on randomly dealt slices names the right class for "
            f"{of_hundred(random['figures']['accuracy'], 'slices')}: there it has seen neighbours "
            "of the test slices, and the difference is memory, not medicine."
        )
    yield (
        f"In brackets are 95 % intervals over patients; there are {result['patients']:,} of them, "
        "so read both ends. Research only: nothing here is fit for a diagnosis."
    )


def _opening(result: Result) -> str:
    if result["split"]["name"] == EXTERNAL:
        return (
            f"The model was tried on {counts_words(result)} from elsewhere; nobody knows whether "
            "training saw them."
        )
    if result["split"]["fold"] == "all":
        return (
            f"Each of {counts_words(result)} was judged by a model whose training had seen nothing "
            "of that patient."
        )
    return (
        f"The model was tried on {counts_words(result)}. No scan of the test part was seen in "
        "training."
    )


def _known(figures: Mapping[str, Any], kind: str, names: Iterable[str]) -> dict[str, Any]:
    found = {name: figures[f"{kind}_{name}"] for name in names}
    return {name: figure for name, figure in found.items() if figure["value"] is not None}
