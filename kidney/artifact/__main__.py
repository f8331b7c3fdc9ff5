"""The card of a kidney.onnx for people: python -m kidney.artifact kidney.onnx [--json]."""

import argparse
import dataclasses
import json
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kidney.artifact.card import ModelCard
from kidney.artifact.decision import findings
from kidney.artifact.reader import read_artifact
from kidney.artifact.seal import check_seal
from kidney.errors import KidneyError
from kidney.reporting.labels import figure_name

_WIDTH = 88
_LABEL = 22  # columns before the values
_Lines = Iterator[tuple[str, object]]  # what, and what is said of it


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the card of a file; return the exit status, 2 where it is refused."""
    parser = argparse.ArgumentParser(prog="python -m kidney.artifact", description=__doc__)
    parser.add_argument("model", type=Path, help="a kidney.onnx that export.py wrote")
    parser.add_argument("--json", action="store_true", help="for programs")
    chosen = parser.parse_args(arguments)
    try:
        data, card = read_artifact(chosen.model)
    except KidneyError as error:
        print(f"kidney.artifact.card: {error}", file=sys.stderr)
        return 2
    if chosen.json:
        print(json.dumps(dataclasses.asdict(card), indent=2))
    else:
        print(card_text(card, chosen.model.name, len(data), check_seal(data)))
    return 0


def card_text(card: ModelCard, file: str, size: int, seal: str) -> str:
    """Return the card as text of at most 88 columns.

    Args:
        card: all that is said.
        file: what the file is called.
        size: of the file, in bytes.
        seal: the digest that the file carries.
    """
    lines = [file, "=" * len(file)]
    for title, content in card_sections(card, size, seal).items():
        lines += ["", title, "-" * len(title)]
        for what, said in content:
            lines += textwrap.wrap(
                f"{what:<{_LABEL}}{said}".rstrip(),
                _WIDTH,
                subsequent_indent=" " * (_LABEL if what else 0),
                break_on_hyphens=False,
            )
    return "\n".join(lines)


def card_sections(card: ModelCard, size: int, seal: str) -> dict[str, list[tuple[str, object]]]:
    """Return heading -> what, and what is said of it; the arguments are those of `card_text`."""
    sections = {
        "What it is": _what(card, size, seal),
        "How to feed it": _feeding(card),
        "How it decides": _deciding(card),
        "How good it is": _quality(card),
        "Where it comes from": _origin(card),
        "What it is for, and its limits": _limits(card),
        "Measured at export": _measured(card),
    }
    return {title: list(content) for title, content in sections.items()}


def _what(card: ModelCard, size: int, seal: str) -> _Lines:
    for position, name in enumerate(card.classes):
        yield ("classes" if position == 0 else " "), f"{position} {name}: {card.names[name]}"
    side = f"{card.image_size} x {card.image_size} pixels"
    yield "network", f"{card.backbone}, looks at {side}, {card.precision}"
    yield "size", f"{size / 1e6:.1f} MB"
    yield "seal (SHA-256)", seal
    if card.made_from:
        yield "made from", f"float32 file of SHA-256 {card.made_from}"


def _feeding(card: ModelCard) -> _Lines:
    for what, said in card.input.items():
        unit = " pixels" if what == "smallest_side" else ""
        yield what.replace("_", " "), f"{said}{unit}"
    window = card.window
    yield (
        "window",
        f"center {window['center']:g}, width {window['width']:g} {window['unit']}: {window['why']}",
    )
    yield "formula", window["formula"]
    yield "pictures", window["pictures"]


def _deciding(card: ModelCard) -> _Lines:
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
    sets = (f"{name} {rules.set_from[name]:.4g}" for name in card.classes)
    yield "prediction set", f"classes from these probabilities on: {', '.join(sets)}"
    if rules.ood_above is None:
        yield "not_a_kidney_ct", "never: this model has no such score"
    else:
        yield "not_a_kidney_ct", f"when ood_score is above {rules.ood_above:.4g}"
    yield "where", "logit of a class = mean of its evidence map + bias"
    biases = (f"{name} {bias:.4g}" for name, bias in zip(card.classes, card.bias, strict=True))
    yield "bias", ", ".join(biases)


def _quality(card: ModelCard) -> _Lines:
    metrics = card.metrics
    if not metrics:
        yield "", "No figures: this model was not evaluated."
        return
    split = metrics["split"]
    yield (
        "measured on",
        f"{metrics['slices']:,} slices of {metrics['scans']:,} scans: split {split['name']}, fold "
        f"{split['fold']} of {split['folds']}, part {split['part']}",
    )
    yield "brackets", "95 % intervals over whole patients"
    width = max(len(figure_name(name)) for name in metrics["figures"])
    for name, figure in metrics["figures"].items():
        yield "", f"  {figure_name(name):<{width}}  {_interval(figure)}"


def _interval(figure: Any) -> str:
    if not isinstance(figure, Mapping):
        return str(figure)
    value, low, high = (figure[end] for end in ("value", "low", "high"))
    if value is None:
        return "n/a"
    return f"{value:.3f}" if low is None else f"{value:.3f}  [{low:.3f}, {high:.3f}]"


def _origin(card: ModelCard) -> _Lines:
    data = card.data
    counts = f"{data['slices']:,} slices of {data['scans']:,} scans"
    yield "training data", f"{data['name']}: {counts}, from {data['source']}"
    yield "data fingerprint", data["fingerprint"]
    yield "first weights", card.weights
    yield "their licence", card.weights_licence
    yield "code", card.code
    yield "run", card.run
    yield "exported", card.created
    yield "drift baseline", "with --json" if card.baseline else "none"


def _limits(card: ModelCard) -> _Lines:
    yield "intended use", card.intended_use
    yield "limits", card.limits


def _measured(card: ModelCard) -> _Lines:
    if not (card.verification or card.benchmark):
        yield "", "Nothing."
    if card.verification:
        yield "held to", "torch" if card.made_from is None else "the file it was made from"
    for name, said in card.verification.items():
        yield name.replace("_", " "), _plain(said)
    for name, said in card.benchmark.items():
        yield name.replace("_", " "), _plain(said)


def _plain(said: Any) -> str:
    if isinstance(said, Mapping):
        return ", ".join(f"{name} {_plain(value)}" for name, value in said.items())
    if isinstance(said, list):
        return ", ".join(map(_plain, said))
    return f"{said:.4g}" if isinstance(said, float) else str(said)


if __name__ == "__main__":
    sys.exit(main())
