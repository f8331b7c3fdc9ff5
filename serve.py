"""Serve a kidney.onnx over HTTP: python serve.py --model artifacts/kidney.onnx."""

import argparse
import sys
from pathlib import Path

from kidney.errors import KidneyError
from kidney.serving.run import serve


def main() -> int:
    """Read the arguments and serve; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="default: KIDNEY_MODEL or artifacts/kidney.onnx")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8000, help="0 chooses a free one")
    parser.add_argument("--workers", type=int, default=1, help="processes, one model each")
    parser.add_argument("--threads", type=int, help="threads of one prediction; default: the cores")
    arguments = parser.parse_args()
    try:
        serve(**vars(arguments))
    except KidneyError as error:
        print(f"serve.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
