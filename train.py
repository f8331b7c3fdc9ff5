"""Train: python train.py model=resnet50 [experiment=cv|search] [-m model=vgg16,vit]."""

from omegaconf import DictConfig

from kidney.pipeline.data_stages import prepare
from kidney.pipeline.entry import entry_point


@entry_point
def main(cfg: DictConfig) -> float:
    """Train what the configuration describes and return the validation macro AUROC."""
    slices, split = prepare(cfg)  # before torch is loaded: missing data are reported at once
    from kidney.pipeline.train import train_stage

    return train_stage(cfg, slices, split)


if __name__ == "__main__":
    main()
