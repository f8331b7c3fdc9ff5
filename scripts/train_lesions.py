"""Slices of several hospitals -> verified kidney.onnx with maps of lesions.

python scripts/train_lesions.py folder=../shared/data model.weights=../shared/weights
python scripts/train_lesions.py folder=../shared/data without=[kits,curvas]
"""

from pathlib import Path

from omegaconf import DictConfig

from kidney.pipeline.entry import composing


@composing("lesions")
def main(cfg: DictConfig) -> None:
    """Train, cross-validate and export; or train without some sources and predict these."""
    from kidney.export.build import benchmark_line, build_artifact
    from kidney.pipeline.lesions import train_lesions, train_without

    if cfg.without:
        print(train_without(cfg))
        return
    path = Path(cfg.artifacts) / "kidney.onnx"
    card = build_artifact(*train_lesions(cfg), path)
    if card.benchmark:
        print(benchmark_line(path, card.benchmark))


if __name__ == "__main__":
    main()
