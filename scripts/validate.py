"""Manifest -> report, and exit status 1 where the data must not be trained on."""

from omegaconf import DictConfig

from kidney.errors import DataError
from kidney.pipeline.data_stages import data_folder, validate_stage
from kidney.pipeline.entry import entry_point


@entry_point
def main(cfg: DictConfig) -> None:
    """Validate the ingested data."""
    failed = validate_stage(cfg)
    report = data_folder(cfg) / "validation.html"
    if failed:
        lines = [f"{f.check}: {f.message} {f.remedy}" for f in failed]
        raise DataError("The data fail validation:\n  " + "\n  ".join(lines), f"Read {report}.")
    print(f"The data and the split {cfg.split.name!r} pass validation: {report}")


if __name__ == "__main__":
    main()
