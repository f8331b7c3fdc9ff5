"""make load takes minutes, so nobody runs it by the way: that a short one works is seen here."""

import subprocess
import sys
from pathlib import Path

from tests.helpers.pictures import encode, gradient
from tests.helpers.slow_model import write_slow_model

SCRIPTS = Path(__file__).parents[1] / "scripts"
CODE = """
import sys
from pathlib import Path
from load.scenes import drain
for line, is_right in drain(Path(sys.argv[1]), Path(sys.argv[2])):
    print(line)
    sys.exit(not is_right)
"""


def test_it_starts_and_says_what_it_needs():
    done = subprocess.run(
        [sys.executable, SCRIPTS / "load_test.py", "--model", "none.onnx"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "make demo" in done.stderr


def test_the_clients_count_what_they_see(tmp_path: Path):
    model = write_slow_model(tmp_path / "kidney.onnx", products=5)
    picture = tmp_path / "slice.png"
    picture.write_bytes(encode(gradient()))
    done = subprocess.run(
        [sys.executable, "-c", CODE, model, picture],
        cwd=SCRIPTS,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "x 200" in done.stdout
    assert "connection refused" in done.stdout
    assert "lost" not in done.stdout
