"""Serve a kidney.onnx over HTTP: python -m kidney.serving [--model FILE].

Each option is also a variable, KIDNEY_ and its name in capitals; kidney/serving/settings.py has
them all.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from kidney.artifact.reader import default_model
from kidney.errors import KidneyError
from kidney.serving.process.run import serve, with_options
from kidney.serving.settings import from_environment


def main(argv: Sequence[str] | None = None) -> int:
    """Read the arguments and serve; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--model",
        help="kidney.onnx, models:/kidney@champion, hf://, s3:// or https://; default: "
        "artifacts/kidney.onnx, else the model in the box",
    )
    parser.add_argument("--host", help="address to listen on; default: 127.0.0.1")
    parser.add_argument("--port", help="default: 8000; 0 chooses a free one")
    parser.add_argument("--workers", help="processes, one model each; default: 1")
    parser.add_argument("--threads", help="threads of one prediction; default: the cores")
    options = vars(parser.parse_args(argv))
    # Until gunicorn takes it over: the first process of a container is not ended by a signal that
    # it does not handle, and to fetch a model can take minutes.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))
    try:
        variables = with_options(os.environ, **options)
        if not variables.get("KIDNEY_MODEL_FROM"):
            variables.setdefault("KIDNEY_MODEL", str(default_model()))
        serve(from_environment(variables))
    except KidneyError as error:
        print(f"serve.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
