"""Manifest -> split file: python scripts/split.py [split=by_patient|leaky] [split.folds=5]."""

from omegaconf import DictConfig

from kidney.data.manifest import read_manifest
from kidney.data.split import PARTS, parts_of, read_split
from kidney.pipeline.data_stages import data_folder, split_stage
from kidney.pipeline.entry import entry_point


@entry_point
def main(cfg: DictConfig) -> None:
    """Assign the scans to folds and print the parts of the chosen fold."""
    path = split_stage(cfg)
    slices = read_manifest(data_folder(cfg))
    split = read_split(data_folder(cfg), cfg.split.name, slices)
    parts = parts_of(slices, split, cfg.split.fold, cfg.split.validation_fold)
    for part in PARTS:
        rows = slices[parts == part]
        labels = rows["label"].value_counts().sort_index().to_dict()
        print(f"{part:5} {len(rows):6,} slices of {rows['scan'].nunique():4} scans  {labels}")
    print(f"Split {split.name!r} in {split.folds} folds: {path}")


if __name__ == "__main__":
    main()
