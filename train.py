"""Train: python train.py model=resnet50 [experiment=cv|search] [-m model=vgg16,vit]."""

from omegaconf import DictConfig

from kidney.pipeline.data_stages import prepare
from kidney.pipeline.entry import entry_point, is_sweep


@entry_point
def main(cfg: DictConfig) -> float:
    """Train what the configuration describes and return the validation macro AUROC."""
    slices, split = prepare(cfg)  # before torch is loaded: missing data are told at once
    from kidney.pipeline.entry import print_figures
    from kidney.training.crossval import cross_validate
    from kidney.training.ensemble import train
    from kidney.training.fit import refuse_distributed_sweep

    if is_sweep():
        refuse_distributed_sweep(cfg.trainer.strategy)
    if cfg.search:
        from kidney.training.search import print_best, search

        found = search(cfg, slices, split)
        print_best(found)
        return float(found.value or 0.0)
    if cfg.cross_validate:
        pooled = cross_validate(cfg, slices, split)
        print_figures(pooled.result, pooled.folder / "report.html")
        return pooled.val_macro_auroc
    best = train(cfg, slices, split)
    print(f"Validation macro AUROC {best.val_macro_auroc:.4f}: {best.checkpoint}")
    return best.val_macro_auroc


if __name__ == "__main__":
    main()
