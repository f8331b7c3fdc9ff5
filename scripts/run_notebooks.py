"""Run the notebooks on a workspace and keep what they show, with small pictures.

KIDNEY_WORKSPACE=demo python scripts/run_notebooks.py [FOLDER]
"""

import base64
import io
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from PIL import Image

MOST_BYTES = 100_000  # of a picture
FOLDER = Path(__file__).parents[1] / "notebooks"


def run(path: Path) -> nbformat.NotebookNode:
    """Return the notebook as run where it lies, without what differs from run to run."""
    notebook = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=1200, kernel_name="python3", resources=place).execute()
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.execution_count = None
            cell.outputs = [_small(output) for output in cell.outputs if _is_shown(output)]
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    return notebook


def _is_shown(output: Any) -> bool:
    return output.get("name") != "stderr"  # progress bars


def _small(output: Any) -> Any:
    if output.output_type == "execute_result":
        output["execution_count"] = None
    data = output.get("data", {})
    if "image/png" in data:
        data["image/png"] = base64.b64encode(_shrunk(base64.b64decode(data["image/png"]))).decode()
    if output.output_type != "stream":
        output["metadata"] = {}
    return output


def _shrunk(png: bytes) -> bytes:
    """Return a picture in 128 colours, smaller by a tenth at a time until it is small enough."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    while True:
        out = io.BytesIO()
        # Coverage keeps the few colours of evidence among the greys.
        palette = picture.quantize(128, Image.Quantize.MAXCOVERAGE)
        palette.save(out, "PNG", optimize=True)
        if out.tell() <= MOST_BYTES:
            return out.getvalue()
        picture = picture.resize((picture.width * 9 // 10, picture.height * 9 // 10))


if __name__ == "__main__":
    for file in sorted(Path(sys.argv[1] if len(sys.argv) > 1 else FOLDER).glob("*.ipynb")):
        print(file, flush=True)
        nbformat.write(run(file), file)
