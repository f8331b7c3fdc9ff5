"""The files of a multipart request, and what the model says of them."""

from collections.abc import Sequence

from werkzeug.datastructures import FileStorage

from kidney.artifact.card import ModelCard
from kidney.imaging.windows import Window
from kidney.serving.guards.admission import check_time
from kidney.serving.inference.engine import Engine, Reading
from kidney.serving.inference.read_series import Study, read_studies
from kidney.serving.problems import NO_FILE, Problem, RequestError
from kidney.serving.settings import Settings


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
    return [file.read() for file in files]


def read_uploads(
    engine: Engine, settings: Settings, uploads: list[bytes], *, with_hu: bool = False
) -> tuple[list[Study], Reading]:
    """Decode uploaded files and let the model read their slices, study after study.

    Raises:
        ImageError: as for `read_studies`.
        RequestError: the time of the current request was up before (503).
    """
    while True:
        window = window_of(engine.model.card)
        studies = read_studies(uploads, settings, window, with_hu=with_hu, before_each=check_time)
        reading = engine.read([slice_.grey for study in studies for slice_ in study.slices])
        # The model may have been swapped for one that sees through another window.
        if window_of(reading.model.card) == window or all(one.window is None for one in studies):
            return studies, reading


def window_of(card: ModelCard) -> Window:
    """Return the window through which a model wants to see Hounsfield units."""
    return Window(center=card.window["center"], width=card.window["width"])
