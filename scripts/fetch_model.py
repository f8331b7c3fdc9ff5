"""Registry, S3 or web -> kidney.onnx: python scripts/fetch_model.py kidney@champion."""

import argparse
import os
from pathlib import Path

from kidney.errors import KidneyError
from kidney.remote.fetch_model import fetch_model
from kidney.remote.http import is_url, show_progress
from kidney.remote.mlflow_rest import FILES, read_reference


def main() -> None:
    """Read the arguments and fetch; exit with status 2 where that fails."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reference", help="kidney@ALIAS, kidney@3, s3://BUCKET/KEY, URL or file")
    parser.add_argument("--out", type=Path, default=Path("kidney.onnx"), help="where it goes")
    parser.add_argument("--tracking", default=uri, help="MLflow; default: MLFLOW_TRACKING_URI")
    parser.add_argument("--precision", choices=FILES, default="float32", help="of a version")
    parser.add_argument("--sha256", help="what the file must have")
    parser.add_argument("--public-key", type=Path, help="PEM; default: KIDNEY_PUBLIC_KEY")
    parser.add_argument("--signature", type=Path, help="default: the .sig beside the source")
    arguments = vars(parser.parse_args())
    reference, uri = read_reference(arguments["reference"]), arguments["tracking"]
    try:
        if reference and not is_url(uri):  # a store that only MLflow itself reads
            from kidney.tracking.registry import find_source

            arguments["reference"] = find_source(uri, reference, arguments["precision"])
        fetch_model(**arguments, progress=show_progress)
    except KidneyError as error:
        parser.exit(2, f"fetch_model.py: {error}\n")


if __name__ == "__main__":
    main()
