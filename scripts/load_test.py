"""Load, overload, drain, swap and kill on a real server: make load. Fails where a request is lost.

python scripts/load_test.py [--model FILE] [--seconds 60]
"""

import argparse
import tempfile
from pathlib import Path

from load.scenes import drain, kill, overload, swap

from kidney.data.phantom.files import write_class_folders


def main() -> None:
    """Print what the clients of each scene saw; exit with status 1 where that is not right."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("demo/artifacts/kidney.onnx"))
    parser.add_argument("--seconds", type=float, default=60.0, help="of overload")
    arguments = parser.parse_args()
    if not arguments.model.is_file():
        parser.error(f"expected a model at {arguments.model}; make demo writes one")
    wrong = []
    with tempfile.TemporaryDirectory() as name:
        write_class_folders(Path(name), scans_per_class=1, size=512)
        picture = sorted(Path(name).rglob("*.jpg"))[0]
        scenes = [
            lambda: overload(arguments.model, picture, arguments.seconds),
            lambda: drain(arguments.model, picture),
            lambda: swap(arguments.model, picture),
            lambda: kill(arguments.model, picture),
        ]
        for scene in scenes:
            for line, is_right in scene():
                print(f"{'ok   ' if is_right else 'WRONG'} {line}", flush=True)
                wrong += [] if is_right else [line]
    if wrong:
        parser.exit(1, f"{len(wrong)} of these are not as they have to be.\n")


if __name__ == "__main__":
    main()
