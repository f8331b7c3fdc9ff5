"""Checkpoint -> verified kidney.onnx: python export.py [run=ID|checkpoint=FILE]."""

from pathlib import Path

from omegaconf import DictConfig

from kidney.training.entry import entry_point


@entry_point
def main(cfg: DictConfig) -> None:
    """Export the chosen checkpoint, which must have been evaluated."""
    from kidney.export.build import build_artifact
    from kidney.training.examples import example_slices
    from kidney.training.select import choose_checkpoint

    chosen = choose_checkpoint(cfg)
    print(f"Exporting {chosen.checkpoint} because {chosen.reason}", flush=True)
    artifacts = Path(cfg.artifacts)
    evaluation = artifacts / "evaluation" / cfg.split.name / "metrics.json"
    path = artifacts / "kidney.onnx"
    slices = example_slices(cfg)
    gaps = build_artifact(chosen.checkpoint, evaluation, slices, path)
    print(
        f"onnxruntime agrees with torch on {len(slices)} slices: probabilities to "
        f"{gaps['probabilities']:.1e}, evidence and logit to {gaps['decomposition']:.1e}"
    )
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
