"""Where raw files come from: `kaggle:HANDLE`, an archive here or on the web, or a folder.

A fetch function takes the empty folder to fill. A new source is one such function and one YAML
below conf/data that names it.
"""

import hashlib
import re
import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

from kidney.errors import DataError
from kidney.files import sha256 as sha256_of
from kidney.imaging.zip_archive import (
    ARCHIVE_SUFFIXES,
    DATA_LIMITS,
    holds_archive,
    is_archive,
    unpack,
)
from kidney.remote.http import (
    check_reachable,
    check_url,
    download,
    is_url,
    show_progress,
    without_secrets,
)

KAGGLE = "kaggle:"
GIVE_ONE = "Give its folder, archive or address: data.source=PATH."
THREE_WAYS = (
    "give a local archive or folder (python scripts/ingest.py data=ct_kidney "
    "data.source=PATH.zip), or use the built-in phantom (data=phantom). If it is the backbone's "
    "weights that cannot be reached: model.weights=PATH or model.weights=none."
)


def fetch(
    folder: Path,
    *,
    source: str | int | None,
    sha256: str | None = None,
    downloads: Path | None = None,
) -> None:
    """Fill `folder` with the raw files of `source`.

    Args:
        source: `kaggle:OWNER/NAME`, the http(s) address of an archive, the path of an archive, or
            the path of a folder; a number is a path too, "" and None are no source.
        downloads: where a download is kept; `downloads` beside `folder` where not given, for what
            is in `folder` is lost with a run that fails.

    Raises:
        DataError: the source does not exist, cannot be reached, has another SHA-256
            or is not safe to unpack.
    """
    source = "" if source is None else str(source)  # data.source=2023 comes as a number
    path = Path(source).expanduser()
    is_folder = bool(source) and path.is_dir()  # an empty name would mean the working folder
    if sha256 and (source.startswith(KAGGLE) or is_folder):
        raise DataError(
            f"data.sha256 is that of an archive, but data.source is {source}.",
            "Leave it out (data.sha256=null), or give an archive or its address.",
        )
    if source.startswith(KAGGLE):
        _copy_folder(_download_from_kaggle(source.removeprefix(KAGGLE)), folder)
    elif is_url(source):
        _unpack_from_web(source, folder, sha256, downloads or folder.parent / "downloads")
    elif is_folder:
        _copy_folder(path, folder)
    elif path.is_file() and is_archive(path):
        _check_hash(path, sha256)
        unpack(path, folder)
    else:
        found = "a file of another kind" if path.is_file() else "nothing"
        if not source:
            raise DataError("This data set has no source of its own, and none is given.", GIVE_ONE)
        raise DataError(
            f"Expected data.source to be an archive (.zip, .tar, .tar.gz) or its https address, a "
            f"folder or kaggle:OWNER/NAME, but found {found} at {path}.",
            THREE_WAYS,
        )


def _check_hash(path: Path, wanted: str | None) -> None:
    if wanted and (found := sha256_of(path)) != wanted.strip().lower():
        raise DataError(
            f"Expected {path} to have the SHA-256 {wanted}, but it has {found}.",
            "Copy the archive again; if it is the same again, the file or data.sha256 has changed.",
        )


def _unpack_from_web(url: str, folder: Path, sha256: str | None, downloads: Path) -> None:
    check_url(url)
    parts = urlsplit(url)
    name = re.sub(r"[^\w.-]", "_", unquote(parts.path).rpartition("/")[2]).lstrip(".")
    # Without a suffix it shows what it is once it is here.
    if Path(name).suffix and not is_archive(Path(name)):
        raise DataError(
            f"Expected {without_secrets(url)} to be an archive ({', '.join(ARCHIVE_SUFFIXES)}).",
            "Give the address of the archive itself, not that of a page about it.",
        )
    # Another address is another file, and so is another query; user and password are no part.
    address = f"{parts.netloc.rpartition('@')[2]}{parts.path}?{parts.query}"
    fingerprint = hashlib.sha256(address.encode("utf-8", "backslashreplace")).hexdigest()[:8]
    path = downloads / f"{fingerprint}-{name[-100:] or 'archive'}"
    if sha256 or not path.is_file():
        limit = DATA_LIMITS.max_bytes
        download(url, path, sha256=sha256, max_bytes=limit, progress=show_progress)
    if not holds_archive(path):
        path.unlink()
        raise DataError(
            f"Expected {without_secrets(url)} to be an archive, but the server sent something "
            "else, perhaps a page that asks for a login.",
            "Open the address in a browser, download the archive and give its path.",
        )
    try:
        unpack(path, folder)
    except DataError as error:
        raise DataError(
            error.problem, f"{error.remedy} To have it downloaded again, delete {path}."
        ) from error


def _copy_folder(source: Path, folder: Path) -> None:
    """Copy regular files; a link could lead anywhere, and without it slices would be missing."""
    try:
        found = sorted(source.rglob("*"))
        if links := [path.relative_to(source) for path in found if path.is_symlink()]:
            raise DataError(
                f"Expected files and folders in {source}, but {len(links)} of them are symbolic "
                f"links, for example {links[0]}.",
                f"Copy the folder with cp -rL {source} COPY first, or give an archive of what the "
                f"links lead to (tar -czhf COPY.tar.gz -C {source} .): data.source=COPY.",
            )
        for path in found:
            if path.is_file():
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
        check_reachable("www.kaggle.com")
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
