"""Train a classifier: python train.py model=resnet50 [experiment=cv] [-m model=vgg16,vit]."""

from omegaconf import DictConfig

from kidney.training.entry import entry_point, is_sweep
from kidney.training.stages import prepare


@entry_point
def main(cfg: DictConfig) -> float:
    """Train what the configuration describes and return the validation macro AUROC."""
    slices, split = prepare(cfg)  # before torch is loaded: missing data are told at once
    from kidney.training.crossval import cross_validate
    from kidney.training.entry import print_figures
    from kidney.training.run import refuse_distributed_sweep, train

    if is_sweep():
        refuse_distributed_sweep(cfg.trainer.strategy)
    if cfg.cross_validate:
        pooled = cross_validate(cfg, slices, split)
        print_figures(pooled.result, pooled.folder / "report.html")
        return pooled.val_macro_auroc
    best = train(cfg, slices, split)
    print(f"Validation macro AUROC {best.val_macro_auroc:.4f}: {best.checkpoint}")
    return best.val_macro_auroc


if __name__ == "__main__":
    main()
