"""The command `kidney`: a table of contents. `kidney COMMAND --help` says more."""

import importlib
import sys
from collections.abc import Sequence

_COMMANDS = {  # command: module with main(argv), what it does
    "predict": ("kidney.serving.predict", "answer for pictures, DICOM files, archives, folders"),
    "serve": ("kidney.serving.__main__", "the web page and the HTTP interface"),
    "card": ("kidney.artifact.__main__", "print the card of a kidney.onnx"),
    "keys": ("kidney.serving.guards.keys", "make an API key"),
    "dicom": ("kidney.dicom.__main__", "answer the CT series of a PACS (extra: dicom)"),
    "feedback": ("kidney.feedback.__main__", "export what readers corrected (extra: train)"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status."""
    given = list(sys.argv[1:] if argv is None else argv)
    if not given or given[0] not in _COMMANDS:
        asked = not given or given[0] in ("-h", "--help")
        lines = [f"  {name:<10}{what}" for name, (_, what) in _COMMANDS.items()]
        text = "\n".join(["usage: kidney COMMAND ...", "", *lines])
        print(text, file=sys.stdout if asked else sys.stderr)
        return 0 if asked else 2
    name, *rest = given
    try:
        module = importlib.import_module(_COMMANDS[name][0])
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("kidney"):
            raise
        print(
            f"kidney {name} needs {error.name}, which is not installed.\n  What to do: install "
            f"the extra that `kidney --help` names, kidney-tumor-identification[...].",
            file=sys.stderr,
        )
        return 2
    status: int = module.main(rest)
    return status


if __name__ == "__main__":
    sys.exit(main())
