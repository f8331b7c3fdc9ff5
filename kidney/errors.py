"""Errors that are meant for people: what was expected, what came, what to do."""


class KidneyError(Exception):
    """Base of every error that this package raises on purpose.

    Args:
        problem: what was expected and what came instead.
        remedy: what the reader can do about it.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem, remedy)  # as given, so that it can cross a process border
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.problem}\n  What to do: {self.remedy}"


class ConfigError(KidneyError):
    """A setting has a value that cannot work."""


class DataError(KidneyError):
    """A source, manifest, split or cache is missing or broken."""


class WeightsError(KidneyError):
    """Backbone weights cannot be found or do not fit."""


class ArtifactError(KidneyError):
    """A checkpoint or an ONNX file is missing, foreign or fails its verification."""


class ImageError(KidneyError):
    """A picture cannot be turned into a slice: its content is broken."""


class ImageTypeError(ImageError):
    """The bytes are of a kind that is not read here."""


class NoSliceError(ImageTypeError):
    """A DICOM file that may be whole and holds no CT slice, such as a report or a directory.

    Attributes:
        study_uid: its StudyInstanceUID, where a decoding process has read it.
    """

    study_uid = ""


class ImageSizeError(ImageError):
    """The picture has more or fewer pixels than a CT slice can have."""
