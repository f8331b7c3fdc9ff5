"""The figures of a recipe: split by patient, and beside them what random slices would claim.

python scripts/headline.py model=lite0 data.source=ct-kidney-part.zip
"""

from typing import Any

from omegaconf import DictConfig, OmegaConf

from kidney.pipeline.data_stages import prepare
from kidney.pipeline.entry import entry_point


@entry_point
def main(cfg: DictConfig) -> None:
    """Cross-validate on both splits and print the table."""
    from kidney.evaluation.report.cards import headline_table

    leaky = _pooled(cfg, {"split": {"name": "leaky"}})
    fair = _pooled(cfg, {"compare": {"random": str(leaky.folder / "metrics.json")}})
    print(headline_table({"random slices (they leak)": leaky.result, "by patient": fair.result}))
    print(f"Report: {fair.folder / 'report.html'}")


def _pooled(cfg: DictConfig, changes: dict[str, dict[str, str]]) -> Any:
    from kidney.pipeline.train import cross_validate_stage

    changed = OmegaConf.merge(cfg, changes)
    assert isinstance(changed, DictConfig)
    return cross_validate_stage(changed, *prepare(changed))


if __name__ == "__main__":
    main()
