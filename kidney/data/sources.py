"""Where raw files come from: `kaggle:HANDLE`, an archive or a folder.

A fetch function takes the empty folder to fill. A new source is one such function and one YAML
below conf/data that names it.
"""

import shutil
from pathlib import Path

from kidney.data.archive import is_archive, unpack
from kidney.errors import DataError
from kidney.network import knock

KAGGLE = "kaggle:"
THREE_WAYS = (
    "give a local archive or folder (python scripts/ingest.py data=ct_kidney "
    "data.source=PATH.zip), or use the built-in phantom (data=phantom). If it is the backbone's "
    "weights that cannot be reached: model.weights=PATH or model.weights=none."
)


def fetch(folder: Path, *, source: str) -> None:
    """Fill `folder` with the raw files of `source`.

    Args:
        folder: an empty folder.
        source: `kaggle:OWNER/NAME`, the path of an archive, or the path of a folder.

    Raises:
        DataError: the source does not exist, cannot be reached or is not safe to unpack.
    """
    if source.startswith(KAGGLE):
        _copy_folder(_download_from_kaggle(source.removeprefix(KAGGLE)), folder)
        return
    path = Path(source).expanduser()
    if source and path.is_dir():  # an empty name would mean the working folder
        _copy_folder(path, folder)
    elif path.is_file() and is_archive(path):
        unpack(path, folder)
    else:
        found = "a file of another kind" if path.is_file() else "nothing"
        raise DataError(
            f"Expected data.source to be an archive (.zip, .tar, .tar.gz), a folder or "
            f"kaggle:OWNER/NAME, but found {found} at {path}.",
            THREE_WAYS,
        )


def _copy_folder(source: Path, folder: Path) -> None:
    """Copy regular files only: a link could lead anywhere."""
    try:
        for path in sorted(source.rglob("*")):
            if path.is_file() and not path.is_symlink():
                target = folder / path.relative_to(source)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
    except OSError as error:
        raise DataError(
            f"Expected to copy {source}, but: {error}.",
            "See that its files can be read and that the disk has room.",
        ) from error


def _download_from_kaggle(handle: str) -> Path:
    try:
        knock("www.kaggle.com")
    except OSError as error:
        raise DataError(
            f"No data is ingested yet and Kaggle cannot be reached ({error}); {handle} was to be "
            "downloaded.",
            THREE_WAYS,
        ) from error
    import kagglehub

    try:
        return Path(kagglehub.dataset_download(handle))
    except Exception as error:  # kagglehub passes on errors of several HTTP libraries
        raise DataError(
            f"Kaggle was reached but {handle} could not be downloaded: {error}.", THREE_WAYS
        ) from error
