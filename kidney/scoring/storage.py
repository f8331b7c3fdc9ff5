"""Where results lie: a folder, or a prefix in S3. A file appears whole or not at all."""

from pathlib import Path

from kidney.errors import DataError
from kidney.files import whole_file
from kidney.remote.http import RefusedError
from kidney.remote.object_store import Store, is_s3


class Place:
    """Small files under relative names with at most one folder, such as slices/1.parquet.

    Args:
        out: a folder, which need not be there yet, or s3://BUCKET/FOLDER.

    Attributes:
        folder: None: in S3.

    Raises:
        DataError: as for `Store`.
    """

    def __init__(self, out: str) -> None:
        self._out = out.rstrip("/")
        self._store = Store(out) if is_s3(out) else None
        self.folder = None if self._store else Path(out)

    def __str__(self) -> str:
        return self._out

    def names(self, folder: str) -> set[str]:
        """Return the names of the files in one of its folders, without the folder."""
        if self._store:
            prefix = f"{self._out}/{folder}/"
            return {listed.name.removeprefix(prefix) for listed in self._store.listed(prefix)}
        found = Path(self._out, folder)
        return {path.name for path in found.iterdir()} if found.is_dir() else set()

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a file; None: there is none."""
        try:
            if self._store:
                return self._store.read(f"{self._out}/{name}")
            return Path(self._out, name).read_bytes()
        except FileNotFoundError:
            return None
        except RefusedError as error:
            if error.status != 404:
                raise
            return None

    def write(self, name: str, data: bytes) -> None:
        """Write a file in place of what has its name.

        Raises:
            DataError: it cannot be written.
        """
        if self._store:
            self._store.write(f"{self._out}/{name}", data)
            return
        try:
            with whole_file(Path(self._out, name)) as temporary:
                temporary.write_bytes(data)
        except OSError as error:
            raise DataError(
                f"Expected to write {self._out}/{name}, but: {error.strerror or error}.",
                "Give a folder that can be written to, on a disk that has room.",
            ) from error

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        if self._store:
            self._store.remove(f"{self._out}/{name}")
        else:
            Path(self._out, name).unlink(missing_ok=True)
