"""Model and data -> MODEL_CARD.md and DATA_CARD.md: python scripts/cards.py [--out FOLDER]."""

import argparse
from pathlib import Path

from kidney.errors import KidneyError


def main() -> None:
    """Read the arguments and write the cards; exit with status 2 where that fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    model = Path("artifacts/kidney.onnx")
    parser.add_argument("--artifact", type=Path, default=model, help=f"default: {model}")
    parser.add_argument("--evaluation", type=Path, help="default: evaluation/SPLIT beside it")
    parser.add_argument("--data", type=Path, help="default: data/NAME of its workspace")
    parser.add_argument("--out", type=Path, default=Path(), help="folder; default: this one")
    arguments = parser.parse_args()
    from kidney.pipeline.cards import write_cards

    try:
        write_cards(arguments.artifact, arguments.evaluation, arguments.data, arguments.out)
    except KidneyError as error:
        parser.exit(2, f"cards.py: {error}\n")
    print(f"{arguments.out / 'MODEL_CARD.md'} and {arguments.out / 'DATA_CARD.md'} are written")


if __name__ == "__main__":
    main()
