"""Artifact -> the registry's champion, or why not.

python scripts/promote.py [artifact=kidney.onnx] [registry.evaluation=FOLDER]
python scripts/promote.py registry.roll_back=true
"""

from pathlib import Path

from omegaconf import DictConfig

from kidney.pipeline.entry import entry_point


@entry_point
def main(cfg: DictConfig) -> None:
    """Judge the artifact against the champion, or roll back to the previous champion."""
    from kidney.artifact.predictor import check_artifact
    from kidney.pipeline.promote import promote, roll_back_champion

    if cfg.registry.roll_back:
        print(roll_back_champion(cfg))
        return
    artifact = Path(cfg.artifact or Path(cfg.artifacts, "kidney.onnx"))
    print(promote(cfg, artifact, check_artifact(artifact)))


if __name__ == "__main__":
    main()
