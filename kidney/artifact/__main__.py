"""The card of a kidney.onnx for people: python -m kidney.artifact kidney.onnx [--json]."""

import argparse
import dataclasses
import json
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kidney.artifact.card import Figure, ModelCard
from kidney.artifact.decision import findings
from kidney.artifact.integrity import check_seal
from kidney.artifact.reader import read_artifact
from kidney.errors import KidneyError
from kidney.reporting.labels import figure_name

_WIDTH = 88
_LABEL = 22  # columns before the values
_Rows = Iterator[tuple[str, object]]  # label, value


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the card of a file; return the exit status, 2 where the file is refused."""
    parser = argparse.ArgumentParser(prog="python -m kidney.artifact", description=__doc__)
    parser.add_argument("model", type=Path, help="a kidney.onnx that export.py wrote")
    parser.add_argument("--json", action="store_true", help="for programs")
    chosen = parser.parse_args(arguments)
    try:
        data, card = read_artifact(chosen.model)
    except KidneyError as error:
        print(f"kidney.artifact: {error}", file=sys.stderr)
        return 2
    if chosen.json:
        print(json.dumps(dataclasses.asdict(card), indent=2))
    else:
        print(card_text(card, chosen.model.name, len(data), check_seal(data)))
    return 0


def card_text(card: ModelCard, file: str, size: int, seal: str) -> str:
    """Return the card as text of at most 88 columns.

    Args:
        card: of the file.
        file: its name.
        size: in bytes.
        seal: the SHA-256 that the file carries.
    """
    lines = [file, "=" * len(file)]
    for title, rows in card_sections(card, size, seal).items():
        lines += ["", title, "-" * len(title)]
        for label, value in rows:
            lines += textwrap.wrap(
                f"{label:<{_LABEL}}{value}".rstrip(),
                _WIDTH,
                subsequent_indent=" " * (_LABEL if label else 0),
                break_on_hyphens=False,
            )
    return "\n".join(lines)


def card_sections(card: ModelCard, size: int, seal: str) -> dict[str, list[tuple[str, object]]]:
    """Return heading -> rows of label and value; the arguments are those of `card_text`."""
    return {
        "What it is": list(_identity(card, size, seal)),
        "How to feed it": list(_input(card)),
        "How it decides": list(_decisions(card)),
        "How good it is": list(_metrics(card)),
        "Where it comes from": list(_origin(card)),
        "What it is for, and its limits": [
            ("intended use", card.intended_use),
            ("limits", card.limits),
        ],
        "Measured at export": list(_measured(card)),
    }


def _identity(card: ModelCard, size: int, seal: str) -> _Rows:
    for position, name in enumerate(card.classes):
        yield ("classes" if position == 0 else " "), f"{position} {name}: {card.names[name]}"
    side = f"{card.image_size} x {card.image_size} pixels"
    yield "network", f"{card.backbone}, looks at {side}, {card.precision}"
    yield "size", f"{size / 1e6:.1f} MB"
    yield "seal (SHA-256)", seal
    if card.made_from:
        yield "made from", f"float32 file of SHA-256 {card.made_from}"


def _input(card: ModelCard) -> _Rows:
    for label, value in _rows(card.input):
        yield label, f"{value} pixels" if label == "smallest side" else value
    window = card.window
    yield "window", f"center {window.center:g}, width {window.width:g} {window.unit}: {window.why}"
    yield "formula", window.formula
    yield "pictures", window.pictures


def _decisions(card: ModelCard) -> _Rows:
    rules = card.rules
    yield "probabilities", f"softmax(logits / {card.temperature:.4g}), in the graph"
    if rules.review_below > 1:
        yield "needs_review", "every answer: none of them may stand without a radiologist"
    else:
        yield (
            "needs_review",
            f"when the highest probability is below {rules.review_below:.4g}, the set holds "
            "another class or another finding is suspected",
        )
    for name in findings(card.classes):
        yield f"suspects {name}", f"from a probability of {rules.suspect_from[name]:.4g}"
    for name, threshold in rules.series_from.items():
        yield f"suspects {name} on a series", f"from a score of {threshold:.4g}"
    sets = (f"{name} {rules.set_from[name]:.4g}" for name in card.classes)
    yield "prediction set", f"classes from these probabilities on: {', '.join(sets)}"
    if rules.ood_above is None:
        yield "not_a_kidney_ct", "never: this model has no such score"
    else:
        yield "not_a_kidney_ct", f"when ood_score is above {rules.ood_above:.4g}"
    yield "where", "logit of a class = mean of its evidence map + bias"
    yield "bias", _plain(dict(zip(card.classes, card.bias, strict=True)))


def _metrics(card: ModelCard) -> _Rows:
    metrics = card.metrics
    if metrics is None:
        yield "", "No figures: this model was not evaluated."
        return
    split = metrics.split
    yield (
        "measured on",
        f"{metrics.slices:,} slices of {metrics.scans:,} scans: split {split.name}, fold "
        f"{split.fold} of {split.folds}, part {split.part}",
    )
    yield "brackets", "95 % intervals over whole patients"
    width = max((len(figure_name(name)) for name in metrics.figures), default=0)
    for name, figure in metrics.figures.items():
        yield "", f"  {figure_name(name):<{width}}  {_figure(figure)}"


def _figure(figure: Figure | float | None) -> str:
    if not isinstance(figure, Figure):
        return str(figure)
    if figure.value is None:
        return "n/a"
    interval = "" if figure.low is None else f"  [{figure.low:.3f}, {figure.high:.3f}]"
    return f"{figure.value:.3f}{interval}"


def _origin(card: ModelCard) -> _Rows:
    data = card.data
    counts = f"{data.slices:,} slices of {data.scans:,} scans"
    yield "training data", f"{data.name}: {counts}, from {data.source}"
    yield "data fingerprint", data.fingerprint
    yield "first weights", card.weights
    yield "their licence", card.weights_licence
    yield "code", card.code
    yield "run", card.run
    yield "exported", card.created
    yield "drift baseline", "with --json" if card.baseline else "none"


def _measured(card: ModelCard) -> _Rows:
    if card.verification:
        yield "compared with", "torch" if card.made_from is None else "the file it was made from"
        yield from _rows(card.verification)
    if card.benchmark:
        yield from _rows(card.benchmark)
    if not (card.verification or card.benchmark):
        yield "", "Nothing."


def _rows(record: Any) -> _Rows:
    """Yield the members of a record; those that are None are left out."""
    for name, value in dataclasses.asdict(record).items():
        if value is not None:
            yield name.replace("_", " "), _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
