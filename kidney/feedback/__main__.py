"""Readers' feedback as corrections for the next training: python -m kidney.feedback export.

    python -m kidney.feedback export feedback.sqlite data/ct_kidney --out corrections

writes corrections.csv, a row a slice, for data.labels; series.csv, what was said of series as a
whole, which is never the label of each slice; and agreement.html.
"""

import argparse
import csv
import io
import sys
from collections.abc import Sequence
from pathlib import Path

from kidney.errors import ConfigError, KidneyError
from kidney.feedback.corrections import Export, corrections, known_slices
from kidney.feedback.store import FeedbackStore
from kidney.files import write_text
from kidney.reporting.pages import page

_LEAD = (
    "Feedback is not a sample: readers answer where they like to. These figures show where to "
    "look; they do not measure accuracy."
)


def main(argv: list[str] | None = None) -> int:
    """Run a command; return the exit status."""
    parser = argparse.ArgumentParser(prog="kidney feedback", description=__doc__)
    command = parser.add_subparsers(dest="command", required=True).add_parser("export")
    command.add_argument("file", type=Path, help="what KIDNEY_FEEDBACK_FILE names")
    command.add_argument("data", type=Path, help="the data set that was sent, such as data/NAME")
    command.add_argument("--out", type=Path, default=Path("corrections"), help="folder")
    options = parser.parse_args(argv)
    try:
        if not options.file.is_file():
            raise ConfigError(
                f"Expected feedback in {options.file}, but there is no such file.",
                "Name the file of KIDNEY_FEEDBACK_FILE.",
            )
        export = corrections(FeedbackStore(options.file), known_slices(options.data))
        write(export, options.out)
    except KidneyError as error:
        print(f"kidney feedback: {error}", file=sys.stderr)
        return 2
    print(
        f"{len(export.slices)} slices and {len(export.series)} series; {export.conflicts} on which "
        f"readers differ, {export.unknown} that are not in {options.data}. Train with "
        f"data.labels={options.out / 'corrections.csv'}"
    )
    return 0


def write(export: Export, folder: Path) -> None:
    """Write corrections.csv, series.csv and agreement.html below `folder`."""
    rows = [(path, frame, label) for (path, frame), label in sorted(export.slices.items())]
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "corrections.csv", _table(("path", "frame", "label"), rows))
    series = sorted(export.series.items())
    write_text(folder / "series.csv", _table(("scan", "label"), series))
    write_text(
        folder / "agreement.html",
        page("agreement.html", title="Agreement with readers", lead=_LEAD, export=export),
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([header, *rows])
    return text.getvalue()


if __name__ == "__main__":
    sys.exit(main())
