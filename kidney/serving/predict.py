"""What the server would answer, without one: kidney predict FILE_OR_FOLDER...

Pictures, DICOM files, zip archives and folders of these. All files of one call are read together,
as those of one request are. Exit status 1: a file was refused; 2: nothing could be read.
"""

import argparse
import csv
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from kidney.artifact.overlay import evidence_overlay, png_bytes
from kidney.artifact.predictor import Prediction, Predictor
from kidney.artifact.reader import default_model
from kidney.errors import ImageError, KidneyError
from kidney.files import whole_file, write_text
from kidney.serving.inference.decode import Series, decode
from kidney.serving.inference.encode import encode
from kidney.serving.inference.engine import Served
from kidney.serving.schemas import PredictionsQuery, Response
from kidney.serving.settings import Settings

_LIMITS = Settings(max_files=100_000, max_request_pixels=4_000 * 512 * 512)  # 1 GB of greys
_NUMBER = re.compile(r"\bfile (\d+)")


def arguments_of(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse a command line; exit with status 2 where it is wrong."""
    parser = argparse.ArgumentParser(prog="kidney predict", description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path, metavar="FILE_OR_FOLDER")
    parser.add_argument("--model", type=Path, help="default: your model, or the one in the box")
    parser.add_argument("--json", type=Path, help="the answer of the API goes here")
    parser.add_argument("--csv", type=Path, help="a row a slice goes here")
    parser.add_argument("--overlay", type=Path, help="folder for slices with their evidence")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Read the arguments, predict and print; return the exit status."""
    arguments = arguments_of(argv)
    files = list(_files(arguments.paths))
    try:
        model = Served(Predictor(arguments.model or default_model()))
        series, refused = _decoded(files, model)
    except KidneyError as error:
        print(f"kidney predict: {error}", file=sys.stderr)
        return 2
    for name, reason in refused:
        print(f"{name}: {reason}", file=sys.stderr)
    if not series:
        print("Nothing could be read.", file=sys.stderr)
        return 2
    predictions = _predicted(model, series)
    response = encode(model, series, predictions, PredictionsQuery())
    kept = [path for path in files if str(path) not in dict(refused)]
    print(_table(response, model, kept))
    for name, _ in refused:  # the server refuses the whole series
        print(f"LEFT OUT, and a finding may lie there: {name}")
    if arguments.json:
        write_text(arguments.json, response.model_dump_json(exclude_unset=True, indent=1) + "\n")
    if arguments.csv:
        _write_csv(arguments.csv, response, kept)
    if arguments.overlay:
        _write_overlays(arguments.overlay, series, predictions, model)
    return 1 if refused else 0


def _files(paths: Sequence[Path]) -> list[Path]:
    """Return the files of paths and of the folders among them, without hidden ones."""
    found = []
    for path in paths:
        below = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
        found += [one for one in below if not one.name.startswith(".")]
    return found


def _decoded(files: Sequence[Path], model: Served) -> tuple[list[Series], list[tuple[str, str]]]:
    """Decode files; one that is damaged is left out and named, and the others are read."""
    left = list(files)
    refused: list[tuple[str, str]] = []
    while left:
        try:
            data = [path.read_bytes() for path in left]
        except OSError as error:
            raise ImageError(f"{error.filename} cannot be read: {error.strerror}.", "") from error
        try:
            return decode(data, _LIMITS, model.card.window.window), refused
        except ImageError as error:
            number = _NUMBER.search(error.problem)
            if number is None:
                raise
            path = left.pop(int(number[1]) - 1)
            refused.append((str(path), f"{error.problem} {error.remedy}"))
    return [], refused


def _predicted(model: Served, series: Sequence[Series]) -> list[Prediction]:
    slices = [one.grey for part in series for one in part.slices]
    predictions = []
    for number, grey in enumerate(slices, start=1):
        predictions += model.predictor.predict([grey])
        if sys.stderr.isatty() and (number % 10 == 0 or number == len(slices)):
            print(f"\r{number} of {len(slices)} slices", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    return predictions


def _table(response: Response, model: Served, files: Sequence[Path]) -> str:
    """Return the answer as a person reads it: each series, then its slices."""
    names, lines = model.card.names, []
    for number, one in enumerate(response.series, start=1):
        count = "1 slice" if len(one.slices) == 1 else f"{len(one.slices)} slices"
        kind = "DICOM series" if one.kind == "dicom" else "pictures"
        lines += [f"Series {number}: {count}, {kind}", f"  {_outcome(one.decision, names)}"]
        for found in one.findings if len(one.slices) > 1 else []:
            if found.suspected:
                lines.append(f"  cannot be excluded: {found.text} ({found.probability:.0%})")
        lines += [f"  doubtful: {doubt}" for doubt in one.doubts]
        lines += [f"  not read: {files[skip.file - 1]}: {skip.reason}" for skip in one.skipped]
        lines.append(f"  {'slice':<36}{'most probable':<26}{'':>5}  cannot be excluded")
        for at in one.slices:
            own = response.predictions[at]
            name = files[own.file - 1].name + (f" #{own.frame}" if own.frame > 1 else "")
            suspected = ", ".join(names[finding] for finding in own.suspected)
            lines.append(
                f"  {name[-34:]:<36}{names[own.label]:<26}"
                f"{own.probabilities[own.label]:>5.0%}  {suspected}"
            )
    return "\n".join([*lines, response.notice])


def _outcome(decision: str, names: dict[str, str]) -> str:
    words = {
        "needs_review": "a radiologist has to look",
        "not_a_kidney_ct": "no kidney CT, by its looks",
    }
    return words.get(decision, f"most probably {names.get(decision, decision)}")


def _write_csv(path: Path, response: Response, files: Sequence[Path]) -> None:
    with whole_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        classes = list(response.predictions[0].probabilities)
        writer.writerow(["file", "frame", "series", "decision", "label", "suspected", *classes])
        for own in response.predictions:
            values = [f"{own.probabilities[name]:.6f}" for name in classes]
            writer.writerow(
                [files[own.file - 1], own.frame, own.series, own.decision, own.label,
                 " ".join(own.suspected), *values]
            )  # fmt: skip


def _write_overlays(
    folder: Path, series: Sequence[Series], predictions: Sequence[Prediction], model: Served
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    slices = [one for part in series for one in part.slices]
    for number, (own, prediction) in enumerate(zip(slices, predictions, strict=True), start=1):
        shown = prediction.evidence[model.card.classes.index(prediction.decision.label)]
        strongest = float(prediction.evidence.max())
        painted = evidence_overlay(own.grey, shown, strongest, region=prediction.region)
        with whole_file(folder / f"{number:04d}.png") as temporary:
            temporary.write_bytes(png_bytes(painted))
