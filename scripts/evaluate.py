"""Checkpoint or artifact -> figures by scan.

python scripts/evaluate.py [run=ID|checkpoint=FILE]
python scripts/evaluate.py artifact=kidney.onnx data.source=FOLDER_OR_ZIP data.labels=labels.csv
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from kidney.pipeline.entry import entry_point, print_figures


@entry_point
def main(cfg: DictConfig) -> None:
    """Evaluate on the test part, or an artifact on slices from elsewhere, and print the figures."""
    result, folder = _external(cfg) if cfg.artifact else _test_part(cfg)
    print_figures(result, folder / "report.html")


def _test_part(cfg: DictConfig) -> tuple[Any, Path]:
    from kidney.pipeline.evaluate import evaluate_checkpoint

    return evaluate_checkpoint(cfg)


def _external(cfg: DictConfig) -> tuple[Any, Path]:
    import numpy as np

    from kidney.artifact.predictor import Predictor
    from kidney.pipeline.evaluate import evaluate_external

    predictor = Predictor(Path(cfg.artifact))

    def predict(slices: Sequence[Any]) -> tuple[Any, ...]:
        answers = predictor.predict(slices)
        return (
            np.stack([answer.probabilities for answer in answers]),
            np.stack([answer.logits for answer in answers]),
            np.array([answer.ood_score for answer in answers], dtype=np.float64),
        )

    return evaluate_external(cfg, predictor.card, predict)


if __name__ == "__main__":
    main()
