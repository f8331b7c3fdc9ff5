"""The consumer on the page about the artifact says what the server says."""

import ast
import dataclasses
import re
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kidney.artifact.predictor import Predictor
from kidney.export.onnx import to_onnx, write_onnx
from kidney.imaging.pictures import decode_picture
from kidney.serving.app import create_app
from kidney.serving.settings import Settings
from tests.helpers.pictures import encode, gradient
from tests.helpers.small_network import small_task
from tests.helpers.tiny_model import CARD, write_tiny_model

PAGE = (Path(__file__).parents[2] / "docs/artifact.md").read_text("utf-8")
(BLOCK,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
PRINTED = re.compile(r"(\w+) \[(.*?)\] \[(.*?)\]", re.S)


def colours() -> np.ndarray:
    noise = np.random.default_rng(7).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return np.array(Image.fromarray(noise).resize((160, 120), Image.Resampling.BICUBIC))


def turned() -> bytes:
    """A JPEG whose EXIF says to turn it by a quarter."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode(gradient(90, 130), "JPEG", exif=exif)


PICTURES = {
    "grey.png": encode(gradient()),
    "grey.jpg": encode(gradient(120, 160), "JPEG"),
    "colour.jpg": encode(colours(), "JPEG", quality=80),
    "colour.png": encode(colours()),
    "turned.jpg": turned(),
    "black.png": encode(np.zeros((64, 64), np.uint8)),
    "dim.png": encode(np.full((64, 64), 110, np.uint8)),
    "white.png": encode(np.full((64, 64), 255, np.uint8)),
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network as export.py writes it, with cut-out and region."""
    path = tmp_path_factory.mktemp("exported") / "kidney.onnx"
    classifier = small_task().classifier
    with torch.no_grad():
        classifier.head.weight.mul_(20)
    card = dataclasses.replace(CARD, bias=tuple(classifier.head.bias.tolist()))
    write_onnx(to_onnx(classifier), card, path)
    return path


def consumer(model: Path, picture: Path) -> tuple[str, list[float], list[float]]:
    """Run the very block in a process without this package; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", BLOCK, str(model), str(picture)],
        cwd=picture.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    decision, *arrays = PRINTED.fullmatch(done.stdout.strip()).groups()
    return (decision, *([float(value) for value in array.split()] for array in arrays))


def expected(model: Path, data: bytes) -> tuple[str, list[float], list[float]]:
    """Decision and probabilities over HTTP, and where the evidence peaks by the predictor."""
    client = create_app(Settings(model=model, threads=1, auth=False)).test_client()
    form = {"file": (BytesIO(data), "slice")}
    (said,) = client.post("/api/v1/predictions", data=form).get_json()["predictions"]
    slice_ = decode_picture(data)
    (answer,) = Predictor(model, threads=1).predict([slice_])
    evidence = answer.evidence[CARD.classes.index(said["label"])]
    row, column = divmod(int(evidence.argmax()), evidence.shape[1])
    top, left, bottom, right = answer.region or (0, 0, *slice_.shape)
    peak = [
        top + (row + 0.5) * (bottom - top) / evidence.shape[0],
        left + (column + 0.5) * (right - left) / evidence.shape[1],
    ]
    return said["decision"], list(said["probabilities"].values()), peak


def compare(model: Path, name: str, folder: Path) -> str:
    picture = folder / name
    picture.write_bytes(PICTURES[name])
    decision, probabilities, peak = consumer(model, picture)
    wanted = expected(model, PICTURES[name])
    assert decision == wanted[0]
    assert probabilities == pytest.approx(wanted[1], abs=1e-6)
    assert peak == pytest.approx(wanted[2], abs=1e-3)
    return decision


@pytest.mark.parametrize("name", ["colour.jpg", "turned.jpg"])
def test_the_consumer_agrees_with_the_server_on_an_exported_model(
    exported: Path, tmp_path: Path, name: str
):
    compare(exported, name, tmp_path)


@pytest.mark.parametrize("name", PICTURES)
def test_the_consumer_agrees_with_the_server_on_any_picture(tmp_path: Path, name: str):
    compare(write_tiny_model(tmp_path / "kidney.onnx"), name, tmp_path)


def test_the_consumer_knows_every_kind_of_decision(tmp_path: Path):
    never = dict.fromkeys(CARD.rules.suspect_from, 1.0)  # a suspected slice is never refused
    rules = dataclasses.replace(CARD.rules, suspect_from=never, ood_above=0.9)
    card = dataclasses.replace(CARD, rules=rules)
    model = write_tiny_model(tmp_path / "kidney.onnx", card=card, ood_score=True)
    decisions = [compare(model, f"{name}.png", tmp_path) for name in ("white", "dim", "black")]
    assert decisions == ["not_a_kidney_ct", "needs_review", "normal"]


def test_the_consumer_is_short_and_needs_three_libraries():
    assert len(BLOCK.splitlines()) <= 20
    assert max(map(len, BLOCK.splitlines())) <= 100
    imported = set()
    for node in ast.walk(ast.parse(BLOCK)):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module)
    assert imported - sys.stdlib_module_names == {"numpy", "onnxruntime", "PIL"}
    assert imported & sys.stdlib_module_names == {"json", "sys"}
