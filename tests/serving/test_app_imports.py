import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FORBIDDEN = ("torch", "timm", "lightning", "pytorch_lightning", "hydra", "mlflow", "pandas")


def test_the_server_imports_nothing_of_the_training_wing():
    program = (
        "import sys, kidney.serving.app, kidney.serving.process.run\n"
        f"print([name for name in {FORBIDDEN} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
