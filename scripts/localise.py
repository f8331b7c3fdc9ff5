"""Checkpoint or artifact -> how well its evidence finds lesions that somebody has drawn.

python scripts/localise.py data.source=kits19-slices.zip [run=ID|checkpoint=FILE]
python scripts/localise.py data=phantom data.fetch.seed=8 artifact=kidney.onnx
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig

from kidney.pipeline.entry import entry_point, print_localisation


@entry_point
def main(cfg: DictConfig) -> None:
    """Measure on slices with masks, write the page and print the figures."""
    from kidney.pipeline.localise import localise_checkpoint

    result, folder = _artifact(cfg) if cfg.artifact else localise_checkpoint(cfg)
    print_localisation(result, folder / "localisation.html")


def _artifact(cfg: DictConfig) -> tuple[Any, Path]:
    from kidney.artifact.predictor import Predictor
    from kidney.pipeline.localise import localise_artifact

    predictor = Predictor(Path(cfg.artifact))

    def predict(slice_: NDArray[np.uint8]) -> tuple[NDArray[np.float32], Any]:
        prediction = predictor.predict([slice_])[0]
        return prediction.evidence, prediction.region

    return localise_artifact(cfg, predictor.card, predict)


if __name__ == "__main__":
    main()
