"""Uploaded files to series: the grey slices that the model reads, in order, within limits."""

import hashlib
import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from werkzeug.datastructures import FileStorage

from kidney.errors import ImageError, ImageSizeError, ImageTypeError, NoSliceError
from kidney.imaging import dicom_order
from kidney.imaging.claims import is_plain
from kidney.imaging.decoding import PROCESSES, Decoded, Job, decoders
from kidney.imaging.dicom import DicomHeader
from kidney.imaging.dicom_file import is_dicom
from kidney.imaging.pictures import decode_picture, is_picture
from kidney.imaging.windows import Window
from kidney.imaging.zip_archive import ArchiveLimits, is_zip, read_members
from kidney.serving.guards.admission import LATE, check_deadline, deadline, hold, hold_member
from kidney.serving.problems import NO_FILE, Problem, RequestError
from kidney.serving.settings import Settings

_T = TypeVar("_T")
_START = 132  # bytes that tell what a file is
_BYTES_A_PIXEL = 4  # of a file; a CT has 2, a picture in colour 3
_PICTURES = threading.BoundedSemaphore(PROCESSES)  # decoded at a time in this process


@dataclass(frozen=True, eq=False)
class Slice:
    """One slice as the model reads it.

    Attributes:
        file: position of its upload, from 1.
        frame: its position among the slices of that upload, from 1.
        grey: uint8 (H, W).
        hu: int16 (H, W), Hounsfield units; None: of a picture, or not asked for.
        sha256: of its file, where feedback is kept; else empty.
    """

    file: int
    frame: int
    grey: NDArray[np.uint8]
    hu: NDArray[np.int16] | None = None
    sha256: str = ""


class Skipped(NamedTuple):
    """A file that is no slice and was sent along with slices."""

    file: int  # position of its upload, from 1
    reason: str


@dataclass(frozen=True, eq=False)
class Series:
    """Slices that are read together: one DICOM series, or all pictures of a request.

    Attributes:
        kind: what its files are.
        slices: a DICOM series from the head to the feet, pictures in the order sent; 1 or more.
        skipped: what was sent along and is no slice.
        plane: "axial", "coronal", "sagittal", "oblique"; None: unknown.
        slice_mm: distance of neighbours; None: unknown.
        pixel_mm: distance of rows and of columns; None: unknown.
        left_first: whether the first column is the patient's left; None: unknown.
        contrast: "enhanced" where a contrast agent is named; None proves nothing.
        window: through which Hounsfield units were shown to the model; None: pictures.
        doubts: why its numbers may be no Hounsfield units, and what is odd about their places.
    """

    kind: Literal["pictures", "dicom"]
    slices: list[Slice]
    skipped: list[Skipped] = field(default_factory=list)
    plane: str | None = None
    slice_mm: float | None = None
    pixel_mm: float | None = None
    left_first: bool | None = None
    contrast: str | None = None
    window: Window | None = None
    doubts: list[str] = field(default_factory=list)


class _File(NamedTuple):
    """One file, taken out of its archive."""

    upload: int  # position, from 1
    key: str  # sorts as files were sent; files of one folder share what is before the last slash
    name: str  # in error messages
    data: bytes
    packed: bool


def uploaded_files(parts: Sequence[FileStorage], most: int) -> list[bytes]:
    """Return the files of a form, in the order sent.

    Args:
        parts: of its field `file`.
        most: how many there may be.

    Raises:
        RequestError: there is none (400) or more than `most` (413).
    """
    # A browser sends an unnamed empty part for a file field that was left empty.
    files = [part for part in parts if part.filename]
    if not files:
        raise RequestError(NO_FILE)
    if len(files) > most:
        raise RequestError(
            Problem(
                413,
                "Too many files",
                f"Expected at most {most} {'file' if most == 1 else 'files'} in one request, "
                f"but got {len(files)}.",
                "Send the rest in further requests.",
                "urn:kidney:problem:too-many-files",
            )
        )
    # Of BytesIO, which hands out what the form was read into; read() would copy it.
    return [file.stream.getvalue() for file in files]  # type: ignore[attr-defined]


def decode(
    uploads: Sequence[bytes], settings: Settings, window: Window, *, with_hu: bool = False
) -> list[Series]:
    """Decode uploaded files, each a picture, a DICOM file or a zip of these.

    A file that is whole but no CT slice, such as a report or a localizer, is skipped where slices
    were sent along. A slice that is damaged is an error: in a series it would be missed.

    Args:
        uploads: whole files.
        settings: the limits.
        window: through which Hounsfield units are shown.
        with_hu: keep the Hounsfield units too.

    Returns:
        Each DICOM series, then the pictures, if there are any. Pictures in an archive are no slices
        where DICOM slices were sent.

    Raises:
        ImageError: nothing can be read, a slice is broken, or a limit is reached. Files are named
            by their positions, from 1; nothing of their content or their names is quoted.
        RequestError: the deadline of the current request has passed (503).
    """
    decoder = _Decoder(settings, window, with_hu)
    for file in _files(uploads, settings):
        check_deadline()
        decoder.add(file)
    return decoder.series()


class _Dicom(NamedTuple):
    """One DICOM file that was decoded."""

    name: str  # how errors call it
    header: DicomHeader
    slices: list[Slice]


class _NoSlice(NamedTuple):
    """A file that is no slice."""

    key: str
    study_uid: str
    skipped: Skipped
    error: ImageError  # where nothing else was sent


class _Decoder:
    """Files one after another: each is decoded and dropped before the next is inflated."""

    def __init__(self, settings: Settings, window: Window, with_hu: bool) -> None:
        self._settings = settings
        self._window = window
        self._with_hu = with_hu
        self._room = settings.max_request_pixels
        self._counts: dict[int, int] = {}  # slices so far, by upload
        self._pictures: list[Slice] = []
        self._dicom: dict[str, _Dicom] = {}  # by key
        self._no_slices: list[_NoSlice] = []
        self._packed_pictures: set[int] = set()  # places in _pictures
        self._loose: ImageTypeError | None = None  # a file of another kind, sent by itself

    def add(self, file: _File) -> None:
        if file.packed and is_zip(file.data[:4]):  # an archive, a program or a document
            number = file.name.partition(" in ")[0]
            error = ImageTypeError(
                f"Expected file {file.upload} to hold slices, but its {number} is an archive too.",
                "Unpack it and send its files in one archive.",
            )
            reason = "an archive or document inside the archive"
            self._skip(file.key, file.upload, file.name, "", reason, error)
        elif is_dicom(file.data[:_START]):
            self._add_dicom(file)
        elif is_picture(file.data) or not file.data:
            decoded = self._bounded(
                self._settings.max_pixels, lambda most: self._decoded(file, most)
            )
            if file.packed:
                self._packed_pictures.add(len(self._pictures))
            self._pictures.append(self._slice(file, decoded.grey[0], None))
        elif file.packed:
            reason = "neither a picture nor a DICOM file"
            self._skip(file.key, file.upload, file.name, "", reason, _unknown_kind(file.name))
        else:
            reason = "neither a picture nor a DICOM file"
            self._loose = self._loose or _unknown_kind(file.name)
            self._skip(file.key, file.upload, file.name, "", reason, _unknown_kind(file.name))

    def series(self) -> list[Series]:
        headers = [(key, file.header) for key, file in self._dicom.items()]
        grouped, refused = dicom_order.group_series(headers)
        for key, reason in refused:
            self._refuse(key, reason)
        if self._loose and not grouped:
            raise self._loose
        pictures = self._pictures
        if grouped:  # a logo on the disc of a patient is no slice
            for at in sorted(self._packed_pictures):
                upload = pictures[at].file
                name = f"picture {pictures[at].frame} in file {upload}"
                reason = "a picture beside DICOM slices"
                self._skip(f"{upload:06}", upload, name, "", reason, _unknown_kind(name))
            kept = [at for at in range(len(pictures)) if at not in self._packed_pictures]
            pictures = [pictures[at] for at in kept]
        no_slices = sorted(self._no_slices, key=lambda one: one.key)
        series = [self._dicom_series(one) for one in grouped]
        series += [Series("pictures", pictures)] if pictures else []
        if not series:
            raise no_slices[0].error
        uids = [one.study_uid for one in grouped]
        for _, uid, skipped, _ in no_slices:
            # A localizer belongs to the series of its study, a text of the disc to the first.
            series[uids.index(uid) if uid in uids else 0].skipped.append(skipped)
        return series

    def _add_dicom(self, file: _File) -> None:
        try:
            decoded = self._bounded(
                self._settings.max_request_pixels, lambda most: self._decoded(file, most)
            )
        except NoSliceError as error:
            reason = error.problem.partition(", got ")[2].rstrip(".")
            # A new one: what was raised keeps the whole file alive.
            again = NoSliceError(error.problem, error.remedy)
            self._skip(file.key, file.upload, file.name, error.study_uid, reason, again)
            return
        assert decoded.header is not None
        units = [None] * len(decoded.grey) if decoded.hu is None else decoded.hu
        slices = [self._slice(file, grey, hu) for grey, hu in zip(decoded.grey, units, strict=True)]
        self._dicom[file.key] = _Dicom(file.name, decoded.header, slices)

    def _decoded(self, file: _File, most: int) -> Decoded:
        """Decode here what is quick for sure, and all else where it can do no harm."""
        if not file.data or (not is_dicom(file.data[:_START]) and is_plain(file.data)):
            with _PICTURES:
                grey = decode_picture(file.data, file.name, most)
                hold(grey.nbytes)
            return Decoded(grey[None])
        limits = self._settings
        job = Job(
            file.name, most, limits.max_frames, limits.max_pixels, self._window, self._with_hu
        )
        try:
            return decoders().decode(file.data, job, deadline(), hold)
        except TimeoutError:
            raise RequestError(LATE) from None

    def _refuse(self, key: str, reason: str) -> None:
        """Pass over what is no slice by its header: a localizer is a picture, too."""
        name, header, slices = self._dicom.pop(key)
        problem = f"Expected {name} to be a CT slice, got {reason}."
        error = NoSliceError(problem, "Send the slices of the series.")
        self._skip(key, slices[0].file, name, header.study_uid, reason, error)

    def _skip(
        self, key: str, upload: int, name: str, study_uid: str, reason: str, error: ImageError
    ) -> None:
        skipped = Skipped(upload, f"{name}: {reason}")
        self._no_slices.append(_NoSlice(key, study_uid, skipped, error))

    def _bounded(self, limit: int, read: Callable[[int], _T]) -> _T:
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
            # Behind the colon a decoder quotes what it could not parse: perhaps a patient's name.
            problem = error.problem.partition(": ")[0].rstrip(".")
            raise ImageError(f"{problem}.", error.remedy) from error

    def _slice(self, file: _File, grey: NDArray[np.uint8], hu: NDArray[np.int16] | None) -> Slice:
        self._room -= grey.size
        self._counts[file.upload] = self._counts.get(file.upload, 0) + 1
        # Only feedback needs it: a gigabyte takes half a second.
        keeps = self._settings.feedback_file is not None
        digest = hashlib.sha256(file.data).hexdigest() if keeps else ""
        return Slice(file.upload, self._counts[file.upload], grey, hu, digest)

    def _dicom_series(self, series: dicom_order.Series) -> Series:
        files = [self._dicom[key] for key in series.names]
        distance = series.slice_mm
        if math.isnan(distance):
            distance = files[0].header.slice_mm
        return Series(
            kind="dicom",
            slices=[slice_ for file in files for slice_ in file.slices],
            plane=series.plane or None,
            slice_mm=None if math.isnan(distance) else distance,
            pixel_mm=None if math.isnan(series.pixel_mm) else series.pixel_mm,
            left_first=series.left_first,
            contrast=series.contrast or None,
            window=self._window,
            doubts=[*_doubts(files), *series.doubts],
        )


def _doubts(files: Sequence[_Dicom]) -> list[str]:
    counts = Counter(doubt for file in files for doubt in file.header.doubts)
    return [f"{doubt} ({count} of {len(files)} files)" for doubt, count in sorted(counts.items())]


def _files(uploads: Sequence[bytes], settings: Settings) -> Iterator[_File]:
    """Yield all files, those of archives in their order, and count them."""
    limits = ArchiveLimits(
        settings.max_files, settings.max_request_pixels * _BYTES_A_PIXEL, settings.max_zip_ratio
    )
    count = 0
    for upload, data in enumerate(uploads, start=1):
        name = f"file {upload}"
        if not is_zip(data[:4]):
            count += 1
            yield _File(upload, f"{upload:06}", name, data, packed=False)
            continue
        empty = True
        for member in read_members(data, name, limits, hold_member):
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


def _unknown_kind(name: str) -> ImageTypeError:
    return ImageTypeError(
        f"Expected {name} to be a JPEG or PNG picture, a DICOM file or a zip archive of these, "
        "but its content is none of them.",
        "Send a JPEG, PNG, DICOM or zip file; a file's name does not matter, its content does.",
    )
