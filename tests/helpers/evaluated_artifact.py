"""An artifact and the evaluation of its run, as export and evaluation leave them."""

import dataclasses
from pathlib import Path
from typing import Any

from kidney.evaluation.promotion import macro_auroc_of
from kidney.evaluation.result import Figure, ModelRecord
from tests.helpers.simulated_models import evidence
from tests.helpers.tiny_model import CARD, write_tiny_model


def write_evaluated(folder: Path, run: str, skill: float, sharpness: float = 1.0, **split: Any):
    """Write kidney.onnx of a run and its evaluation into `folder`; see `evidence` for the rest."""
    model = evidence(skill, sharpness, seed=1, **split)
    whose = ModelRecord(backbone="tiny", run=run)
    figures = {"macro_auroc": Figure(value=macro_auroc_of(model))}
    result = model.result.model_copy(update={"model": whose, "figures": figures})
    folder.mkdir(parents=True)
    model.predictions.to_csv(folder / "predictions.csv", index=False)
    (folder / "metrics.json").write_text(result.to_json())
    write_tiny_model(folder / "kidney.onnx", card=dataclasses.replace(CARD, run=run))
