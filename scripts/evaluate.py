"""Checkpoint -> figures by scan: python scripts/evaluate.py [run=ID|checkpoint=FILE]."""

from omegaconf import DictConfig

from kidney.training.entry import entry_point


@entry_point
def main(cfg: DictConfig) -> None:
    """Evaluate on the test part and print the figures with their intervals."""
    from kidney.training.evaluate import evaluate_stage

    result, folder = evaluate_stage(cfg)
    split = result["split"]
    print(
        f"Split {split['name']!r}, fold {split['fold']}, part {split['part']}: "
        f"{result['slices']:,} slices of {result['scans']} scans"
    )
    for name, figure in result["figures"].items():
        if figure["value"] is not None:
            print(f"  {name:18} {figure['value']:.3f}  [{figure['low']:.3f}, {figure['high']:.3f}]")
    print(f"Report: {folder / 'report.html'}")


if __name__ == "__main__":
    main()
