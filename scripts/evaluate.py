"""Checkpoint -> figures by scan: python scripts/evaluate.py [run=ID|checkpoint=FILE]."""

from omegaconf import DictConfig

from kidney.training.entry import entry_point, print_figures


@entry_point
def main(cfg: DictConfig) -> None:
    """Evaluate on the test part and print the figures with their intervals."""
    from kidney.training.evaluate import evaluate_stage

    result, folder = evaluate_stage(cfg)
    print_figures(result, folder / "report.html")


if __name__ == "__main__":
    main()
