"""Slices of several hospitals -> verified kidney.onnx with maps of lesions.

python scripts/train_lesions.py folder=../shared/data model.weights=../shared/weights
python scripts/train_lesions.py folder=../shared/data without=[kits,curvas]
"""

from omegaconf import DictConfig

from kidney.pipeline.entry import entry_point


@entry_point(config="lesions")
def main(cfg: DictConfig) -> None:
    """Train, cross-validate and export; or train without some sources and predict these."""
    from kidney.pipeline.lesions import train_lesions, train_without

    (train_without if cfg.without else train_lesions)(cfg)


if __name__ == "__main__":
    main()
