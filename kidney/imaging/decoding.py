"""A few processes of limits that decode files from elsewhere, so that one file costs one request.

A decoder that fills its memory, never ends or crashes ends its process; the next file gets a new
one. A process starts with the first file that needs it, in about half a second, knows none of the
server's variables, files and sockets, and ends with its server: at the end of their connection.
Signals are for the server, which drains first. Numbers and JSON come back, nothing that could run.

Started anew and not forked: a fork would take over onnxruntime's threads and the model.
"""

import contextlib
import dataclasses
import json
import math
import os
import queue
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from kidney import errors
from kidney.errors import ImageError, NoSliceError
from kidney.imaging.dicom import DicomHeader, read_dicom, read_header
from kidney.imaging.dicom_file import is_dicom
from kidney.imaging.pictures import decode_picture
from kidney.imaging.windows import Window, to_grey

PROCESSES = 2
SPARE_BYTES = 96 * 2**20  # beyond the libraries, whatever the file
FILE_COPIES = 4  # of the file's bytes at a time
FRAME_BYTES = 32  # a pixel of one frame: samples of 32 bits, and what a decoder keeps beside them
PIXEL_BYTES = 4  # a pixel of all frames: Hounsfield units, greys
_SPARE_SECONDS = 3  # of computing
_SECONDS_A_PIXEL = 5e-7  # JPEG 2000, the slowest, takes 2e-7
_LONGEST_SECONDS = 86_400.0  # that every system call takes
_KEPT_BYTES = 256 * 2**20  # a process that keeps more is replaced
_NO_MORE = (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE)
_HEADER: TypeAdapter[DicomHeader] = TypeAdapter(DicomHeader)


@dataclasses.dataclass(frozen=True)
class Job:
    """How to decode one file.

    Attributes:
        name: how errors call it.
        max_pixels: of all frames together.
        max_frames: of a DICOM file.
        max_frame_pixels: of one frame.
        window: through which Hounsfield units are shown.
        with_hu: whether they come back too.
    """

    name: str
    max_pixels: int
    max_frames: int
    max_frame_pixels: int
    window: Window
    with_hu: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Decoded:
    """One decoded file.

    Attributes:
        grey: uint8 (frames, H, W).
        hu: int16 (frames, H, W), Hounsfield units; None: of a picture, or not asked for.
        header: of a DICOM file.
    """

    grey: NDArray[np.uint8]
    hu: NDArray[np.int16] | None = None
    header: DicomHeader | None = None


class Decoders:
    """At most so many processes, each of which decodes one file at a time."""

    def __init__(self, processes: int = PROCESSES) -> None:
        self._idle: queue.LifoQueue[_Process | None] = queue.LifoQueue()
        for _ in range(processes):
            self._idle.put(None)

    def decode(
        self, data: bytes, job: Job, until: float, reserve: Callable[[int], None]
    ) -> Decoded:
        """Decode a DICOM file or a picture.

        Args:
            data: the whole file.
            job: its limits.
            until: when to give up, by `time.monotonic`.
            reserve: called with the bytes of the result before they are taken; may raise.

        Raises:
            TimeoutError: it was not done by then.
            ImageError: as `read_dicom` and `decode_picture` raise it, or the decoder took more
                memory or time than any slice of that size, or crashed.
        """
        try:
            process = self._idle.get(timeout=_seconds_left(until))
        except queue.Empty:
            raise TimeoutError from None
        keep = None
        try:
            if process is not None and process.child.poll() is not None:  # by whomever
                process.close()
                process = None
            process = process or _Process()
            answer, arrays = process.ask(data, job, until, reserve)
            keep = None if answer["ends"] else process
        except (EOFError, OSError) as error:
            if isinstance(error, TimeoutError):
                raise
            raise _killed(job.name, process) from error
        finally:
            if process is not None and keep is None:
                process.close()
            self._idle.put(keep)
        if "error" in answer:
            raise _error(answer)
        header = _HEADER.validate_python(answer["header"]) if answer["header"] else None
        return Decoded(arrays[0], arrays[1] if job.with_hu and header else None, header)

    def close(self) -> None:
        """End the processes that are idle."""
        with contextlib.suppress(queue.Empty):
            while True:
                if process := self._idle.get_nowait():
                    process.close()


@cache
def decoders() -> Decoders:
    """Return those of this process."""
    return Decoders()


class _Process:
    """One child and the connection to it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self.child = subprocess.Popen(
                [sys.executable, "-P", "-m", "kidney.imaging.decoding", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # libtiff writes there what it finds in a file
                pass_fds=[theirs.fileno()],
                env={"PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"},
            )
        self._connection = Connection(ours.detach())

    def ask(
        self, data: bytes, job: Job, until: float, reserve: Callable[[int], None]
    ) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        """Return the answer and its arrays."""
        self._connection.send_bytes(json.dumps(dataclasses.asdict(job)).encode())
        self._connection.send_bytes(data)
        if not self._connection.poll(_seconds_left(until)):
            raise TimeoutError
        answer = json.loads(self._connection.recv_bytes())
        arrays: list[NDArray[Any]] = []
        for kind in answer.get("arrays", ()):
            size = math.prod(answer["shape"]) * np.dtype(kind).itemsize
            if size > 2 * job.max_pixels:
                raise OSError("a decoding process returned more than it was asked for")
            reserve(size)
            array = np.empty(answer["shape"], kind)
            self._connection.recv_bytes_into(array.data.cast("B"))
            arrays.append(array)
        return answer, arrays

    def close(self) -> None:
        """End it."""
        self._connection.close()
        self.child.kill()
        self.child.wait()


def _seconds_left(until: float) -> float:
    return min(max(until - time.monotonic(), 0), _LONGEST_SECONDS)


def _killed(name: str, process: _Process | None) -> ImageError:
    if process is not None:
        with contextlib.suppress(subprocess.TimeoutExpired):  # it is about to end
            process.child.wait(1)
    was = "took longer" if process and process.child.returncode == -signal.SIGXCPU else "crashed"
    return ImageError(
        f"Expected {name} to be decoded like any slice of its size, but its decoder {was}.",
        "Export the slice again, uncompressed; this file is damaged or was made to do harm.",
    )


def _error(answer: dict[str, Any]) -> ImageError:
    kind = getattr(errors, answer["error"])
    error: ImageError = kind(answer["problem"], answer["remedy"])
    if isinstance(error, NoSliceError):
        error.study_uid = answer["study_uid"]
    return error


def main(descriptor: int) -> None:
    """Decode what comes, one file after another, until the connection ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    for limit in _NO_MORE:
        resource.setrlimit(limit, (0, 0))
    libraries, _ = _memory()
    connection = Connection(descriptor)
    with contextlib.suppress(EOFError, OSError):
        ends = False
        while not ends:
            job = TypeAdapter(Job).validate_json(connection.recv_bytes())
            data = connection.recv_bytes()
            _lift_limits()
            answer, arrays = _answer(data, job, libraries)
            ends = _memory()[1] > _KEPT_BYTES
            connection.send_bytes(json.dumps({**answer, "ends": ends}).encode())
            for array in arrays:
                connection.send_bytes(array.data.cast("B"))
            del data, arrays


def _answer(data: bytes, job: Job, libraries: int) -> tuple[dict[str, Any], list[NDArray[Any]]]:
    try:
        decoded = _decode(data, job, libraries)
    except ImageError as error:
        _lift_limits()
        uid = ""
        if isinstance(error, NoSliceError):
            with contextlib.suppress(ImageError):
                uid = read_header(data, job.name).study_uid
        return {
            "error": type(error).__name__,
            "problem": error.problem,
            "remedy": error.remedy,
            "study_uid": uid,
        }, []
    _lift_limits()
    arrays: list[NDArray[Any]] = [decoded.grey]
    if decoded.hu is not None:
        arrays.append(decoded.hu)
    header = decoded.header and dataclasses.asdict(decoded.header)
    kinds = [array.dtype.str for array in arrays]
    return {"header": header, "shape": decoded.grey.shape, "arrays": kinds}, arrays


def _decode(data: bytes, job: Job, libraries: int) -> Decoded:
    if not is_dicom(data[:132]):
        _limit(libraries, data, job.max_frame_pixels, job.max_frame_pixels)
        return Decoded(decode_picture(data, job.name, job.max_pixels)[None])
    _limit(libraries, data, 0, 0)
    header = read_header(data, job.name)
    frame = min(header.rows * header.columns, job.max_frame_pixels)
    _limit(libraries, data, frame, min(frame * header.frames, job.max_pixels))
    image = read_dicom(data, job.name, job.max_pixels, job.max_frames, job.max_frame_pixels)
    grey = np.empty(image.hu.shape, np.uint8)
    for number, hu in enumerate(image.hu):
        grey[number] = to_grey(hu, job.window)
    return Decoded(grey, np.ascontiguousarray(image.hu) if job.with_hu else None, image.header)


def _limit(libraries: int, data: bytes, frame_pixels: int, pixels: int) -> None:
    """Limit memory and time to what a file of that size may need."""
    space = SPARE_BYTES + FILE_COPIES * len(data) + FRAME_BYTES * frame_pixels
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = used.ru_utime + used.ru_stime + _SPARE_SECONDS + _SECONDS_A_PIXEL * pixels
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(seconds), resource.RLIM_INFINITY))
    if libraries:
        most = libraries + space + PIXEL_BYTES * pixels
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))


def _lift_limits() -> None:
    for limit in (resource.RLIMIT_CPU, resource.RLIMIT_AS):
        resource.setrlimit(limit, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def _memory() -> tuple[int, int]:
    """Return bytes of this process's address space, and those in memory; 0: not known here."""
    try:
        pages = Path("/proc/self/statm").read_text("ascii").split()
    except OSError:
        return 0, 0
    return int(pages[0]) * resource.getpagesize(), int(pages[1]) * resource.getpagesize()


if __name__ == "__main__":
    main(int(sys.argv[1]))
