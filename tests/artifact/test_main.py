"""What `python -m kidney.artifact` prints, asked of a process of its own."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from kidney.artifact.__main__ import card_text, main
from kidney.artifact.card import (
    Benchmark,
    ConversionVerification,
    EvaluatedSplit,
    Figure,
    Metrics,
    to_metadata,
)
from kidney.artifact.integrity import check_seal
from tests.helpers.tiny_model import CARD, write_tiny_model

ROOT = Path(__file__).parents[2]
FIGURES = {
    "macro_auroc": Figure(0.9312, 0.8998, 0.9601),
    "recall_tumor": Figure(0.41, 0.2, 0.7),
    "answered_accuracy": Figure(None, None, None),
    "ece_by_chance": 0.05,
}
FULL = dataclasses.replace(
    CARD,
    metrics=Metrics(
        split=EvaluatedSplit(name="by_patient", fold=1, folds=5, part="test"),
        slices=1435,
        scans=19,
        figures=FIGURES,
    ),
    precision="int8",
    made_from="f" * 64,
    verification=ConversionVerification("static", 12, 0.9, 0.001, 0.96, 0.99, 1.3e-6),
    benchmark=Benchmark(
        milliseconds=12.3456,
        milliseconds_95=15.0,
        size_mb=12.4,
        slice=(512, 512),
        threads=2,
        machine="some processor",
        onnxruntime="1.32.0",
    ),
    rules=dataclasses.replace(CARD.rules, review_below=2.0, ood_above=1.25),
)


def printed(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kidney.artifact", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def text_of(card=FULL) -> str:
    return card_text(card, "kidney.onnx", 12_378_679, "a" * 64)


def flat(text: str) -> str:
    return " ".join(text.split())


def test_people_read_what_the_file_carries(tmp_path: Path):
    path = write_tiny_model(tmp_path / "kidney.onnx", card=FULL, ood_score=True)
    done = printed(path)
    assert (done.returncode, done.stderr) == (0, "")
    seal = check_seal(path.read_bytes())
    assert done.stdout == card_text(FULL, "kidney.onnx", path.stat().st_size, seal) + "\n"


def test_every_part_of_the_card_is_printed():
    text = flat(text_of())
    for part in (
        "0 normal: normal kidney 1 cyst: cyst 2 tumor: tumour (kidney mass) 3 stone: kidney stone",
        "8 x 8 pixels, int8",
        "12.4 MB",
        "a" * 64,
        f"float32 file of SHA-256 {'f' * 64}",
        "dtype uint8",
        "smallest side 32 pixels",
        "center 40, width 400 HU",
        "needs_review every answer",
        "suspects tumor from a probability of 0.1",
        "prediction set classes from these probabilities on: normal 0.15, cyst 0.15, tumor 0.15",
        "not_a_kidney_ct when ood_score is above 1.25",
        "1,435 slices of 19 scans: split by_patient, fold 1 of 5, part test",
        "Macro AUROC 0.931 [0.900, 0.960]",
        "Recall of tumor 0.410 [0.200, 0.700]",
        "Accuracy of these answers n/a",
        "written by hand",
        "Apache-2.0",
        "tiny-run",
        "Testing the software.",
        "It knows nothing about kidneys",
        "compared with the file it was made from",
        "largest change 1.3e-06",
        "milliseconds 12.35",
        "slice 512, 512",
    ):
        assert part in text


def test_it_fits_a_terminal():
    assert max(map(len, text_of().splitlines())) <= 88


def test_a_card_without_figures_says_so():
    text = flat(text_of(CARD))
    assert "this model was not evaluated" in text
    assert "never: this model has no such score" in text
    assert "below 0.7" in text
    assert "made from" not in text
    assert text.endswith("Nothing.")


def test_programs_read_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main([str(write_tiny_model(tmp_path / "kidney.onnx")), "--json"]) == 0
    (text,) = (value for key, value in to_metadata(CARD).items() if key == "kidney.card")
    fields = json.loads(text)
    del fields["schema"]
    assert json.loads(capsys.readouterr().out) == fields


@pytest.mark.parametrize("content", [b"", b"hello", None])
def test_a_wrong_file_is_one_clear_error(tmp_path: Path, content: bytes | None):
    path = tmp_path / "kidney.onnx"
    if content is None:
        write_tiny_model(path, card=None)
    else:
        path.write_bytes(content)
    done = printed(path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Expected" in done.stderr
    assert "What to do" in done.stderr
    assert "Traceback" not in done.stderr


def test_neither_torch_nor_a_runtime_is_needed(tmp_path: Path):
    path = write_tiny_model(tmp_path / "kidney.onnx")
    program = (
        "import sys\nfrom kidney.artifact.__main__ import main\n"
        f"main([{str(path)!r}])\n"
        "print([name for name in ('torch', 'onnx', 'onnxruntime') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
