"""Source -> raw files -> manifest: python scripts/ingest.py data=ct_kidney data.source=FILE.zip."""

from omegaconf import DictConfig

from kidney.data.manifest import read_rejected
from kidney.pipeline.data_stages import data_folder, ingest_stage
from kidney.pipeline.entry import entry_point


@entry_point
def main(cfg: DictConfig) -> None:
    """Ingest the source that data=... names."""
    slices = ingest_stage(cfg)
    folder = data_folder(cfg)
    counts = slices.groupby("label").agg(slices=("path", "size"), scans=("scan", "nunique"))
    print(counts.to_string())
    print(f"{len(slices):,} slices of {slices['scan'].nunique()} scans: {folder / 'manifest.csv'}")
    if refused := len(read_rejected(folder)):
        print(f"{refused} files are no usable slices: {folder / 'rejected.csv'} says why")


if __name__ == "__main__":
    main()
