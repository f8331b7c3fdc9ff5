"""Files of a multipart request to slices, within the limits of the server."""

from collections.abc import Iterable

import numpy as np
from flask import request
from numpy.typing import NDArray
from werkzeug.datastructures import FileStorage

from kidney.errors import ImageSizeError
from kidney.imaging.pictures import decode_picture
from kidney.serving.problems import Problem, RequestError

FIELD = "file"
_PICTURES_OF_FULL_SIZE = 4  # bounds the decoded memory of one request


def uploaded_files(most: int) -> list[FileStorage]:
    """Return the files of the request's field `file`, in the order sent.

    Args:
        most: how many there may be.

    Raises:
        RequestError: there is none (400) or more than `most` (413).
    """
    # A browser sends an unnamed empty part for a file field that was left empty.
    files = [file for file in request.files.getlist(FIELD) if file.filename]
    if not files:
        raise RequestError(
            Problem(
                400,
                "No picture was sent",
                f"Expected a multipart form with a JPEG or PNG in the field {FIELD!r}, "
                "but got no file there.",
                f"Choose a picture; on a command line: curl -F {FIELD}=@slice.png.",
                "urn:kidney:problem:no-file",
            )
        )
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
    return files


def decode_all(files: Iterable[FileStorage], max_pixels: int) -> list[NDArray[np.uint8]]:
    """Decode every file to a uint8 slice (H, W); errors call a file by its position, from 1.

    Raises:
        ImageError: a file is no picture, is broken or has too many pixels.
        ImageSizeError: all of them together have more than four pictures of `max_pixels`.
    """
    slices: list[NDArray[np.uint8]] = []
    pixels = 0
    for position, file in enumerate(files, start=1):
        slice_ = decode_picture(file.read(), f"file {position}", max_pixels)
        pixels += slice_.size
        if pixels > max_pixels * _PICTURES_OF_FULL_SIZE:
            raise ImageSizeError(
                f"Expected at most {max_pixels * _PICTURES_OF_FULL_SIZE:,} pixels in all files "
                f"together, but file {position} goes beyond.",
                "Send fewer files in one request.",
            )
        slices.append(slice_)
    return slices
