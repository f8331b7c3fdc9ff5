"""The modules of deploy/, which are scripts beside the package: here they are imported by path."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def load(name: str, path: Path) -> ModuleType:
    """Import a file under a name; sys.path stays as it is, where `deploy` could mean two things."""
    if name in sys.modules:
        return sys.modules[name]
    folder = [str(path.parent)] if path.name == "__init__.py" else None
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=folder)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


load("rollout", DEPLOY / "rollout" / "__init__.py")
command = importlib.import_module("rollout.command")
health = importlib.import_module("rollout.health")
images = importlib.import_module("rollout.images")
models = importlib.import_module("rollout.models")
records = importlib.import_module("rollout.records")
stacks = importlib.import_module("rollout.stack")
steps = importlib.import_module("rollout.steps")
script = load("deploy_script", DEPLOY / "deploy.py")
metrics = load("instance_metrics", DEPLOY / "instance" / "metrics.py")
