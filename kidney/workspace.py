"""A workspace: the folders that the commands write, and how a notebook finds them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kidney.errors import DataError

WORKSPACE, DATA = "KIDNEY_WORKSPACE", "KIDNEY_DATA"
_USUAL = "ct_kidney"
_REMEDY = (
    "Run the commands of the README first, or name the folder that `workspace=` named: "
    f"{WORKSPACE}=demo after `make demo`."
)


@dataclass(frozen=True)
class Workspace:
    """Where the commands write."""

    root: Path  # the folder that `workspace` names
    artifacts: Path  # evaluations and kidney.onnx

    def data(self, name: str) -> Path:
        """Return the folder of a data set."""
        return self.root / "data" / name

    @property
    def runs(self) -> Path:
        """Trainings; absolute, since a training may change its working folder."""
        return self.root.absolute() / "runs"

    @property
    def cache(self) -> Path:
        """Whatever can be computed or downloaded again."""
        return self.root / "cache"

    def evaluation(self, name: str) -> Path:
        """Return the folder of an evaluation, named by its split or external set."""
        return self.artifacts / "evaluation" / name


def find_workspace(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder that holds data/, from here or from the folder above.

    Jupyter runs a notebook in the notebook's own folder, one below the repository, and the test
    suite in either.

    Args:
        environment: KIDNEY_WORKSPACE names the folder; not set: the repository's.

    Raises:
        DataError: neither place has such a folder with data/ in it.
    """
    name = environment.get(WORKSPACE, ".")
    for base in (Path(), Path("..")):
        if (base / name / "data").is_dir():
            return base / name
    raise DataError(
        f"Expected a workspace with data/ in it at {name}, here or in the folder above, but "
        "there is none.",
        _REMEDY,
    )


def find_masked(workspace: Path) -> Path:
    """Return the folder of slices with drawn lesions that scripts/localise.py left.

    Raises:
        DataError: there is none.
    """
    found = sorted(workspace.glob("data/masked-*"))
    if found:
        return found[0]
    raise DataError(
        f"Expected slices with drawn lesions at {workspace / 'data'}/masked-NAME, but there are "
        "none.",
        "Run python scripts/localise.py data.source=kits19-slices.zip; without real ones "
        "data=phantom data.fetch.seed=8 draws some.",
    )


def find_data(workspace: Path, environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of a data set, the one with manifest.csv.

    Args:
        environment: KIDNEY_DATA names the set; not set: ct_kidney, else the only one there is.

    Raises:
        DataError: it is not there, or several are and none is named.
    """
    found = {path.parent.name: path.parent for path in workspace.glob("data/*/manifest.csv")}
    wanted = environment.get(DATA) or (_USUAL if _USUAL in found else "")
    if not wanted and len(found) == 1:
        (wanted,) = found
    if wanted in found:
        return found[wanted]
    raise DataError(
        f"Expected {f'the data set {wanted}' if wanted else 'one data set'} in "
        f"{workspace / 'data'}, but found {', '.join(sorted(found)) or 'none'}.",
        f"Name one of them with {DATA}, or ingest one: python scripts/ingest.py.",
    )
