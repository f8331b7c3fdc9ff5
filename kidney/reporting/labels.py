"""How classes, figures and numbers are written for people; files and code keep their names."""

from typing import Protocol

NOT_DEFINED = "n/a"
_CLASSES = {
    "normal": "normal kidney",
    "cyst": "cyst",
    "tumor": "tumour (kidney mass)",
    "stone": "kidney stone",
}
_FIGURES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "macro_auroc": "Macro AUROC",
    "loss": "Loss (cross-entropy, nats)",
    "brier": "Brier score",
    "ece": "Expected calibration error",
    "set_coverage": "Prediction set holds the truth",
    "set_size": "Classes in a prediction set",
    "answered": "Answered without review",
    "answered_accuracy": "Accuracy of these answers",
    "aurc": "Area under risk-coverage",
}
_FIGURES_OF_CLASS = {
    "recall": "Recall of",
    "auroc": "AUROC of",
    "sensitivity": "Sensitivity for",
    "specificity": "Specificity for",
    "missed_alone": "Stands alone as another class:",
    "set_coverage": "Prediction set holds",
    "calibration_slope": "Calibration slope of",
    "calibration_intercept": "Calibration intercept of",
}


class Estimate(Protocol):
    """A figure and the ends of its 95 % interval; None where it is not defined."""

    @property
    def value(self) -> float | None: ...  # noqa: D102
    @property
    def low(self) -> float | None: ...  # noqa: D102
    @property
    def high(self) -> float | None: ...  # noqa: D102


def class_name(name: str) -> str:
    """Name a class for people: tumor is "tumour (kidney mass)", an unknown_one "unknown one"."""
    return _CLASSES.get(name) or name.replace("_", " ")


def figure_name(figure: str) -> str:
    """Name a figure for people: recall_kidney_stone is the Recall of kidney_stone."""
    if figure in _FIGURES:
        return _FIGURES[figure]
    for kind, words in _FIGURES_OF_CLASS.items():
        if figure.startswith(f"{kind}_"):
            return f"{words} {figure.removeprefix(f'{kind}_')}"
    return figure.replace("_", " ")


def number(value: float | str | None) -> str:
    """Write a value: whole numbers and words as they are, others with three decimals."""
    if value is None:
        return NOT_DEFINED
    if isinstance(value, float):
        return f"{value:.3f}"
    return value if isinstance(value, str) else f"{value:,}"


def value_and_interval(figure: Estimate | None) -> tuple[str, str]:
    """Write a figure as (value, interval); the interval is empty where there is none."""
    if figure is None or figure.value is None:
        return NOT_DEFINED, ""
    value = number(float(figure.value))
    if figure.low is None or figure.high is None:
        return value, ""
    return value, f"{figure.low:.3f} to {figure.high:.3f}"


def with_interval(figure: Estimate | None) -> str:
    """Write a figure with its interval in brackets: 0.869 (0.754 to 0.954)."""
    value, interval = value_and_interval(figure)
    return f"{value} ({interval})" if interval else value


def out_of_100(figure: Estimate, what: str) -> str:
    """Write a share of `what` with its interval for a sentence: 87 of 100 slices (75 to 95)."""
    value, low, high = (
        round(100 * (end or 0.0)) for end in (figure.value, figure.low, figure.high)
    )
    interval = f"{low} to {high}" if figure.low is not None else "too few patients for an interval"
    return f"{value} of 100 {what} ({interval})"
