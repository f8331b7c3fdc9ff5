"""Archive of slices -> Parquet: python scripts/score.py ARCHIVE --out scores."""

import argparse
from pathlib import Path

from kidney.errors import KidneyError


def main() -> None:
    """Read the arguments and score; exit with status 2 where that fails, 130 when stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", help="a folder, s3://BUCKET/FOLDER, or a text or CSV list")
    parser.add_argument("--model", type=Path, default=Path("artifacts/kidney.onnx"))
    parser.add_argument("--out", default="scores", help="a folder or s3://BUCKET/FOLDER")
    parser.add_argument("--window", help="of Hounsfield units, WIDTH/LEVEL; default: the model's")
    parser.add_argument("--address", help="HOST:PORT or auto: a Ray cluster; default: this machine")
    arguments = vars(parser.parse_args())
    from kidney.scoring.score import score

    try:
        outcome = score(**arguments)
    except KidneyError as error:
        parser.exit(2, f"score.py: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "\nStopped. The same command goes on from here.\n")
    print(f"{outcome}: {arguments['out']}")


if __name__ == "__main__":
    main()
