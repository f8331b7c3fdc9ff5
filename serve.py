"""Serve a kidney.onnx over HTTP: python serve.py [--model FILE].

`python serve.py --help` lists the options; where the package is installed without this file,
`python -m kidney.serving` is the same.
"""

import sys

from kidney.serving.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
