"""The rules of the layout, read from the source; imports inside functions count."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# What each folder or module right below kidney/ may import of the package, besides itself. Each
# level may import those above it; parts of one level import each other only where it says so.
BASE = {"errors", "files"}
GROUND = BASE | {"artifact", "imaging", "remote", "reporting", "workspace"}
MAY_IMPORT = {
    "errors": set(),
    "files": set(),
    "workspace": {"errors"},
    # no torch
    "imaging": BASE,
    "reporting": BASE,
    "artifact": BASE | {"imaging", "reporting"},
    "remote": BASE | {"artifact"},
    "feedback": BASE | {"reporting"},
    # the stages; these five never import each other, but for the charts of reports
    "data": GROUND | {"plots"},
    "models": GROUND,
    "evaluation": GROUND | {"plots"},
    "tracking": GROUND,
    "plots": BASE | {"reporting"},
    "export": GROUND | {"models", "data", "evaluation", "tracking"},
    "training": GROUND | {"models", "data", "evaluation", "tracking"},
    # the commands
    "pipeline": GROUND | {"models", "data", "evaluation", "tracking", "training"},
    "__main__": set(),  # the command, which imports what it runs
    # what uses the artifact; no torch
    "serving": GROUND | {"feedback"},
    "scoring": GROUND,
    "dicom": GROUND | {"serving"},  # the log of the server
}

# Who may know a library. Entry points and scripts may know any.
ONLY = {
    "hydra": {"pipeline"},
    "omegaconf": {"pipeline"},
    "optuna": {"training", "pipeline"},
    "mlflow": {"tracking"},
    "matplotlib": {"plots"},
    "huggingface_hub": {"reporting", "data", "evaluation", "models"},
    "jinja2": {"reporting"},
    "onnxruntime": {"artifact", "export"},
    "flask": {"serving"},
    "timm": {"models"},
    "boto3": set(),  # of deploy and tests
    "botocore": set(),
    "cryptography": {"remote"},
    "ray": {"scoring"},
    "pyarrow": {"remote", "scoring"},
    "requests": {"remote", "dicom"},
    "highdicom": {"dicom"},
}
HEAVY = {"torch", "torchvision", "timm", "pytorch_lightning", "torchmetrics", "pandas", "scipy"}
WITHOUT_HEAVY = GROUND | {"dicom", "feedback", "serving", "scoring"}

# A module is one subject of 60 to 400 lines. Below FEWEST or above MOST it needs its reason here.
FEWEST, MOST = 40, 400
OTHER_LENGTHS = {
    "data/phantom/locator_set.py": "the one place where the phantom meets the locator",
    "serving/monitoring/probe.py": "the health check of the image imports nothing else",
}
MOST_LOOSE = 3  # modules at the root of kidney/
ENTRY_POINTS = ("train.py", "export.py", "serve.py", "scripts/fetch_model.py", "scripts/score.py")
ENTRY_POINT_LINES = 40


def imported(path: Path) -> Iterator[str]:
    """Yield the full name of all that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # A relative import hides which part it reaches: written out here, it is of this rule.
            module = "." * node.level + (node.module or "")
            yield from (f"{module}.{alias.name}" for alias in node.names)


def violations(root: Path) -> list[str]:
    """Return what breaks the rules below `root`, a line each."""
    found = []
    for path in sorted((root / "kidney").rglob("*.py")):
        part = path.relative_to(root / "kidney").parts[0].removesuffix(".py")
        if part == "__init__":
            continue
        if part not in MAY_IMPORT:
            found.append(f"{path.relative_to(root)}: no rule says what {part} may import")
            continue
        for name in imported(path):
            top, _, rest = name.partition(".")
            other = rest.split(".")[0]
            if (
                not top
                or (top == "kidney" and other not in {part, *MAY_IMPORT[part]})
                or part not in ONLY.get(top, {part})
                or (top in HEAVY and part in WITHOUT_HEAVY)
            ):
                found.append(f"{path.relative_to(root)}: {part} may not import {name}")
    return found


def test_parts_import_only_what_the_design_allows():
    assert violations(ROOT) == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("serving/app.py", "from kidney.models.classifier import KidneyClassifier"),
        ("serving/app.py", "def f():\n    import torch"),
        ("serving/app.py", "from ..models import classifier"),
        ("serving/app.py", "from kidney import training"),
        ("models/task.py", "import kidney.data.split"),
        ("models/task.py", "from omegaconf import DictConfig"),
        ("data/split.py", "from kidney.tracking.runs import Tracking"),
        ("evaluation/report.py", "from kidney.models.task import KidneyTask"),
        ("tracking/runs.py", "from kidney.evaluation import report"),
        ("training/fit.py", "import mlflow.pytorch"),
        ("training/fit.py", "from omegaconf import DictConfig"),
        ("training/fit.py", "from kidney.pipeline.train import training_spec"),
        ("training/fit.py", "from kidney.export.build import build_artifact"),
        ("export/build.py", "from hydra.utils import instantiate"),
        ("imaging/pictures.py", "from torch import Tensor"),
        ("artifact/reader.py", "def f():\n    import boto3"),
        ("artifact/reader.py", "from kidney.remote.fetch_model import fetch_model"),
        ("remote/fetch_model.py", "from kidney.tracking.registry import champion"),
        ("errors.py", "from kidney.artifact.card import ModelCard"),
        ("scoring/rows.py", "from kidney.serving.inference.engine import Engine"),
        ("scoring/ray_engine.py", "import torch"),
        ("dicom/report.py", "import torch"),
        ("serving/app.py", "import highdicom"),
        ("serving/app.py", "import ray.data"),
        ("utils/helpers.py", "import os"),
    ],
)
def test_an_import_against_the_rules_is_noticed(tmp_path: Path, file: str, line: str):
    path = tmp_path / "kidney" / file
    path.parent.mkdir(parents=True)
    path.write_text(line)
    assert len(violations(tmp_path)) == 1


def test_every_rule_is_about_a_part_that_is_there():
    names = {path.name.removesuffix(".py") for path in (ROOT / "kidney").iterdir()}
    assert set(MAY_IMPORT) <= names


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_a_module_has_60_to_400_lines_or_a_reason():
    counts = {
        path.relative_to(ROOT / "kidney").as_posix(): lines(path)
        for path in ROOT.glob("kidney/**/*.py")
        if path.name != "__init__.py"
    }
    assert len(counts) > 40
    outside = {name: count for name, count in counts.items() if not FEWEST <= count <= MOST}
    unexplained = {name: outside[name] for name in outside if name not in OTHER_LENGTHS}
    assert unexplained == {}, "merge it, split it, or give its reason in OTHER_LENGTHS"
    assert sorted(set(OTHER_LENGTHS) - set(outside)) == [], "these need no reason any more"


def test_few_modules_lie_loose():
    loose = [path for path in (ROOT / "kidney").glob("*.py") if not path.name.startswith("__")]
    assert len(loose) <= MOST_LOOSE


def graph(root: Path) -> dict[str, set[str]]:
    """Return the modules of the package that each module imports."""
    names = {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
        for path in (root / "kidney").rglob("*.py")
    }

    def module(name: str) -> str:
        return name if name in names else name.rpartition(".")[0]

    return {
        name: {module(each) for each in imported(path) if module(each) in names} - {name}
        for name, path in names.items()
    }


def test_no_module_imports_itself_in_a_circle():
    found = graph(ROOT)
    assert "kidney.errors" in found["kidney.artifact.card"]
    TopologicalSorter(found).prepare()


def test_a_circle_is_noticed(tmp_path: Path):
    (tmp_path / "kidney").mkdir()
    for name, line in {
        "a": "from kidney.b import f",
        "b": "import kidney.c",
        "c": "def f():\n    from kidney import a",
    }.items():
        (tmp_path / "kidney" / f"{name}.py").write_text(line)
    with pytest.raises(CycleError):
        TopologicalSorter(graph(tmp_path)).prepare()


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_an_entry_point_is_a_table_of_contents(name: str):
    assert lines(ROOT / name) < ENTRY_POINT_LINES
