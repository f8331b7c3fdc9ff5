"""Uploaded files to studies: the grey slices that the model reads, in order, within limits."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from kidney.errors import ImageError, ImageSizeError, ImageTypeError, NoSliceError
from kidney.imaging.dicom import DicomHeader, read_dicom, read_header
from kidney.imaging.dicom_file import is_dicom
from kidney.imaging.pictures import decode_picture, is_picture
from kidney.imaging.series import Series, group_series
from kidney.imaging.windows import Window, to_grey
from kidney.serving.archives import is_zip, members
from kidney.serving.settings import Settings

_T = TypeVar("_T")
_START = 132  # bytes that tell what a file is


@dataclass(frozen=True, eq=False)
class Slice:
    """One slice as the model reads it.

    Attributes:
        file: position of its upload, from 1.
        frame: its place among the slices of that upload, from 1.
        grey: uint8 (H, W).
        hu: int16 (H, W), Hounsfield units; None: of a picture, or not asked for.
    """

    file: int
    frame: int
    grey: NDArray[np.uint8]
    hu: NDArray[np.int16] | None = None


class Skipped(NamedTuple):
    """A file that is no slice and was sent along with slices."""

    file: int  # position of its upload, from 1
    reason: str


@dataclass(frozen=True, eq=False)
class Study:
    """Slices that are read together: one DICOM series, or all pictures of a request.

    Attributes:
        kind: what its files are.
        slices: a series from the head to the feet, pictures in the order sent; 1 or more.
        skipped: what was sent along and is no slice.
        view: "axial", "coronal", "sagittal", "oblique"; None: unknown.
        slice_mm: distance of neighbours; None: unknown.
        contrast: "enhanced" where a contrast agent is named; None proves nothing.
        window: through which Hounsfield units were shown to the model; None: pictures.
    """

    kind: Literal["pictures", "dicom"]
    slices: list[Slice]
    skipped: list[Skipped] = field(default_factory=list)
    view: str | None = None
    slice_mm: float | None = None
    contrast: str | None = None
    window: Window | None = None


class _File(NamedTuple):
    """One file, taken out of its archive."""

    upload: int  # position, from 1
    key: str  # sorts as files were sent; files of one folder share what is before the last slash
    name: str  # how errors call it
    data: bytes
    packed: bool


def read_studies(
    uploads: Sequence[bytes],
    settings: Settings,
    window: Window,
    *,
    with_hu: bool = False,
    before_each: Callable[[], None] = lambda: None,
) -> list[Study]:
    """Read the slices of uploaded files, each a picture, a DICOM file or a zip of these.

    A file that is whole but no CT slice, such as a report or a localizer, is skipped where slices
    were sent along. A slice that is damaged is an error: in a series it would be missed.

    Args:
        uploads: whole files.
        settings: the limits.
        window: through which Hounsfield units are shown.
        with_hu: keep the Hounsfield units too.
        before_each: called before each file is decoded; what it raises ends the reading.

    Returns:
        The pictures first, if there are any, then each series.

    Raises:
        ImageError: nothing can be read, a slice is broken, or a limit is reached. Files are named
            by their positions, from 1; nothing of their content or their names is quoted.
    """
    reader = _Reader(settings, window, with_hu)
    for file in _files(uploads, settings):
        before_each()
        reader.add(file)
    return reader.studies()


class _Reader:
    """Files one after another: each is decoded and dropped before the next is inflated."""

    def __init__(self, settings: Settings, window: Window, with_hu: bool) -> None:
        self._settings = settings
        self._window = window
        self._with_hu = with_hu
        self._room = settings.max_request_pixels
        self._pictures: list[Slice] = []
        self._frames: dict[str, list[Slice]] = {}  # of each DICOM file, by its key
        self._names: dict[str, str] = {}  # how errors call it, likewise
        self._headers: list[tuple[str, DicomHeader]] = []
        self._skipped: list[tuple[str, Skipped, ImageError]] = []  # with the UID of the study
        self._counts: dict[int, int] = {}  # slices so far, by upload

    def add(self, file: _File) -> None:
        limits = self._settings
        if is_dicom(file.data[:_START]):
            self._add_dicom(file)
        elif is_picture(file.data) or not file.data:
            grey = self._within(
                limits.max_pixels, lambda most: decode_picture(file.data, file.name, most)
            )
            self._pictures.append(self._slice(file, grey, None))
        elif file.packed:
            reason = f"{file.name}: neither a picture nor a DICOM file"
            self._skipped.append(("", Skipped(file.upload, reason), _no_kind(file.name)))
        else:
            raise _no_kind(file.name)

    def studies(self) -> list[Study]:
        series, refused = group_series(self._headers)
        studies = [Study("pictures", self._pictures)] if self._pictures else []
        studies += [self._study(one) for one in series]
        uids = [""] * bool(self._pictures) + [one.study_uid for one in series]
        skipped = self._skipped + [self._refused(key, reason) for key, reason in refused]
        if not studies:
            raise skipped[0][2]
        for uid, entry, _ in skipped:
            # A localizer belongs to the series of its study, a text of the disc to the first.
            studies[uids.index(uid) if uid in uids else 0].skipped.append(entry)
        for study in studies:
            study.skipped.sort()
        return studies

    def _add_dicom(self, file: _File) -> None:
        limits = self._settings
        try:
            image = self._within(
                limits.max_request_pixels,
                lambda most: read_dicom(
                    file.data, file.name, most, limits.max_frames, limits.max_pixels
                ),
            )
        except NoSliceError as error:
            reason = f"{file.name}: {error.problem.partition(', got ')[2].rstrip('.')}"
            self._skipped.append((_study_uid(file), Skipped(file.upload, reason), error))
            return
        self._headers.append((file.key, image.header))
        self._names[file.key] = file.name
        greys = to_grey(image.hu, self._window)
        self._frames[file.key] = [
            self._slice(file, grey, hu if self._with_hu else None)
            for grey, hu in zip(greys, image.hu, strict=True)
        ]

    def _within(self, limit: int, read: Callable[[int], _T]) -> _T:
        try:
            return read(min(limit, self._room))
        except ImageSizeError as error:
            if self._room >= limit:
                raise
            raise ImageSizeError(
                f"{error.problem} All slices of a request together may have "
                f"{self._settings.max_request_pixels:,} pixels, of which {self._room:,} were left.",
                "Send fewer files in one request.",
            ) from error
        except ImageTypeError:
            raise
        except ImageError as error:
            # Behind the colon a decoder quotes what it stumbled over: a patient's name, perhaps.
            raise ImageError(error.problem.partition(": ")[0] + ".", error.remedy) from error

    def _slice(self, file: _File, grey: NDArray[np.uint8], hu: NDArray[np.int16] | None) -> Slice:
        self._room -= grey.size
        self._counts[file.upload] = self._counts.get(file.upload, 0) + 1
        return Slice(file.upload, self._counts[file.upload], grey, hu)

    def _study(self, series: Series) -> Study:
        headers = dict(self._headers)
        distance = series.slice_mm
        if math.isnan(distance):
            distance = headers[series.names[0]].slice_mm
        return Study(
            kind="dicom",
            slices=[slice_ for key in series.names for slice_ in self._frames[key]],
            view=series.view or None,
            slice_mm=None if math.isnan(distance) else distance,
            contrast=series.contrast or None,
            window=self._window,
        )

    def _refused(self, key: str, reason: str) -> tuple[str, Skipped, ImageError]:
        """Give back what a file took that is no slice by its header: a localizer is a picture."""
        upload, name = self._frames.pop(key)[0].file, self._names[key]
        uid = dict(self._headers)[key].study_uid
        problem = f"Expected {name} to be a CT slice, got {reason}."
        error = NoSliceError(problem, "Send the slices of the series.")
        return uid, Skipped(upload, f"{name}: {reason}"), error


def _files(uploads: Sequence[bytes], settings: Settings) -> Iterator[_File]:
    """Yield all files, those of archives in their order, and count them."""
    count = 0
    for upload, data in enumerate(uploads, start=1):
        name = f"file {upload}"
        if not is_zip(data[:4]):
            count += 1
            yield _File(upload, f"{upload:06}", name, data, packed=False)
            continue
        empty = True
        for member in members(data, name, settings):
            empty = False
            count += 1
            if count > settings.max_files:
                raise ImageSizeError(
                    f"Expected at most {settings.max_files:,} files in one request, those of "
                    f"archives included, but {name} goes beyond.",
                    "Send the rest in further requests.",
                )
            inside = f"number {member.number} in {name}"
            key = f"{upload:06}/{member.folder}/{member.number:06}"
            yield _File(upload, key, inside, member.data, packed=True)
        if empty:
            raise ImageTypeError(
                f"Expected {name} to hold slices, but it is an empty archive.",
                "Send an archive with the slices of a series.",
            )


def _study_uid(file: _File) -> str:
    try:
        return read_header(file.data, file.name).study_uid
    except ImageError:
        return ""


def _no_kind(name: str) -> ImageTypeError:
    return ImageTypeError(
        f"Expected {name} to be a JPEG or PNG picture, a DICOM file or a zip archive of these, "
        "but its content is none of them.",
        "Send a JPEG, PNG, DICOM or zip file; a file's name does not matter, its content does.",
    )
