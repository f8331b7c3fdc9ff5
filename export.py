"""Checkpoint -> verified kidney.onnx: python export.py [run=ID|checkpoint=FILE]."""

from pathlib import Path

from omegaconf import DictConfig

from kidney.pipeline.entry import entry_point


@entry_point
def main(cfg: DictConfig) -> None:
    """Export the chosen checkpoint, which must have been evaluated, and convert the file."""
    from kidney.export.build import benchmark_line, build_artifact, verification_line
    from kidney.export.convert import convert_artifact
    from kidney.pipeline.checkpoints import choose_checkpoint, export_data

    chosen = choose_checkpoint(cfg)
    print(f"Exporting {chosen.checkpoint} because {chosen.reason}", flush=True)
    artifacts = Path(cfg.artifacts)
    evaluation = artifacts / "evaluation" / cfg.split.name / "metrics.json"
    data, figures_of = export_data(cfg, chosen.checkpoint)
    path = artifacts / "kidney.onnx"
    card = build_artifact(chosen.checkpoint, evaluation, *data.validation, path)
    print(f"{verification_line(card.verification)}\n{benchmark_line(path, card.benchmark)}")
    for precision in (name for name, wanted in cfg.export.items() if wanted):
        print(convert_artifact(path, precision, data.training.slices, *data.test, figures_of))


if __name__ == "__main__":
    main()
