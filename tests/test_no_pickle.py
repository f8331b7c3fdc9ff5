"""Nothing here opens a file that could run code: no pickle, in whichever wrapping."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("kidney", "scripts")
# Modules whose reading runs what the file says.
UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
# Imports of these that start processes and open no file.
HARMLESS = {("joblib", "Parallel"), ("joblib", "delayed")}
# Calls that read pickles unless this argument has this value.
SAFE_ONLY_WITH = {"torch.load": ("weights_only", True)}
# Calls that read pickles where this argument has another value.
SAFE_UNLESS = {"allow_pickle": False}


def unsafe(source: str) -> list[str]:
    """Return what in a module could open a pickle, a line each."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom):
                module = node.module or ""
                names = [] if {(module, name) for name in names} <= HARMLESS else [module]
            found += [f"imports {name}" for name in names if name.split(".")[0] in UNPICKLERS]
            if isinstance(node, ast.ImportFrom) and node.module in {"torch", "torch.serialization"}:
                found += ["imports torch's load" for alias in node.names if alias.name == "load"]
        elif isinstance(node, ast.Call):
            arguments = {word.arg: ast.unparse(word.value) for word in node.keywords}
            called = ast.unparse(node.func)
            if called in SAFE_ONLY_WITH:
                name, value = SAFE_ONLY_WITH[called]
                if arguments.get(name) != repr(value):
                    found.append(f"line {node.lineno}: {called} without {name}={value}")
            for name, value in SAFE_UNLESS.items():
                if arguments.get(name, repr(value)) != repr(value):
                    found.append(f"line {node.lineno}: {called} with {name}={arguments[name]}")
            if called.rpartition(".")[2] in {"load_from_checkpoint", "read_pickle", "unsafe_load"}:
                found.append(f"line {node.lineno}: {called}")
    return found


def sources() -> list[Path]:
    return [*ROOT.glob("*.py"), *(path for name in FOLDERS for path in (ROOT / name).rglob("*.py"))]


def test_no_pickle_is_ever_opened():
    found = {str(path.relative_to(ROOT)): unsafe(path.read_text("utf-8")) for path in sources()}
    assert len(found) > 100
    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "def f():\n    from joblib import load",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=safe)",
        "from torch import load",
        "np.load(path, allow_pickle=True)",
        "KidneyTask.load_from_checkpoint(path)",
        "pd.read_pickle(path)",
    ],
)
def test_an_opened_pickle_is_noticed(source: str):
    assert len(unsafe(source)) == 1


def test_what_is_safe_passes():
    assert unsafe("torch.load(path, weights_only=True)\nnp.load(path, allow_pickle=False)") == []
