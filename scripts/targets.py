"""The table of targets of a lesion model that was cross-validated.

python scripts/targets.py folder=../shared/data [name=lesions]
"""

from omegaconf import DictConfig

from kidney.pipeline.entry import composing


@composing("lesions")
def main(cfg: DictConfig) -> None:
    """Print the table, and write it beside the evaluation."""
    from kidney.pipeline.lesions import targets_stage

    print(targets_stage(cfg))


if __name__ == "__main__":
    main()
