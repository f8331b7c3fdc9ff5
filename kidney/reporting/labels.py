"""What classes and figures are called for people; in files and in code they keep their names."""

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
