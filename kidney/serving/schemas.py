"""What the API takes and answers: the models that make each answer also document it."""

from typing import Annotated, Any, Literal

from flask_openapi3 import FileStorage
from pydantic import BaseModel, ConfigDict, Field, RootModel
from pydantic.json_schema import SkipJsonSchema

from kidney.artifact.card import ModelCard

FIELD = "file"
NOTICE = "Research use only; not a diagnosis."

_SCHEMAS: dict[Any, dict[str, Any]] = {}
Share = Annotated[float, Field(ge=-1e-5, le=1 + 1e-5)]  # a float32 softmax may end above 1
Position = Annotated[int, Field(ge=1)]
Place = Annotated[int, Field(ge=0)]


class _Parameters(BaseModel):
    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the schema; flask-openapi3 asks for it at each request, and it takes 0.2 ms."""
        key = (cls, args, tuple(kwargs.items()))
        if key not in _SCHEMAS:
            _SCHEMAS[key] = super().model_json_schema(*args, **kwargs)
        return _SCHEMAS[key]


def _optional(description: str) -> Any:
    """Return a parameter that may be left out; null is no value that could be sent."""
    return Field(
        None,
        description=description,
        json_schema_extra=lambda schema: schema.pop("default", None),  # type: ignore[arg-type]
    )


class PredictionsQuery(_Parameters):
    """What the answer shall hold beside its figures."""

    model_config = ConfigDict(extra="forbid")

    overlay: Literal["png"] | SkipJsonSchema[None] = _optional(
        "`png`: each slice with the evidence for its label painted on it."
    )
    evidence: Literal["maps"] | SkipJsonSchema[None] = _optional(
        "`maps`: the evidence of each class, for viewers."
    )
    pixels: Literal["png"] | SkipJsonSchema[None] = _optional(
        "`png`: the Hounsfield units of each DICOM slice, for viewers."
    )


class Uploads(_Parameters):
    """A multipart form."""

    file: list[FileStorage] = Field(
        min_length=1,
        description="JPEG or PNG pictures, DICOM files of CT, or zip archives of either.",
    )


class ModelName(BaseModel):
    """Which model answered."""

    run: str = Field(description="Tracking run that trained it.")
    code: str = Field(description="git commit of the code that trained it.")
    created: str = Field(description="UTC time of its export, ISO 8601.")
    precision: str = Field(description="`float32`, `float16` or `int8`.")
    sha256: str = Field(description="SHA-256 of its file.")


class ClassEvidence(BaseModel):
    """What the places of a slice say about one class, in units of its logit."""

    mean: float = Field(description="Mean over all places: the logit is `mean` plus the bias.")
    strongest: float = Field(description="Evidence at the place that speaks most for the class.")
    peak: tuple[float, float] | None = Field(
        description="Row and column of that place in pixels; null where no place speaks for it."
    )
    share: Share = Field(
        description="How much of all positive evidence lies at the peak and the 8 places around "
        "it: near 1 for a spot, small for evidence that is spread; 0 without any."
    )


class EvidenceMaps(BaseModel):
    """The evidence of a slice, place by place."""

    strongest: float = Field(description="Highest value of all classes: full colour.")
    region: tuple[float, float, float, float] = Field(
        description="Top, left, bottom and right of the maps in pixels; may leave the slice."
    )
    maps: dict[str, list[list[float]]] = Field(description="Class -> rows of the map.")


class Prediction(BaseModel):
    """The answer for one slice."""

    file: Position = Field(description="Position of its upload, from 1; a zip is one upload.")
    frame: Position = Field(description="Its place among the slices of that upload, from 1.")
    study: Place = Field(description="Index of its study in `studies`.")
    decision: str = Field(description="A class, `needs_review` or `not_a_kidney_ct`.")
    label: str = Field(description="The most probable class, sure or not.")
    probabilities: dict[str, Share] = Field(description="Class -> calibrated probability.")
    set: list[str] = Field(description="Classes that cannot be told apart here.")
    suspected: list[str] = Field(description="Findings that cannot be excluded.")
    ood_score: float | None = Field(
        description="How unlike the training data it is; null where the model does not measure it."
    )
    size: tuple[int, int] = Field(description="Height and width in pixels.")
    evidence: dict[str, ClassEvidence] = Field(description="Class -> summary of its evidence.")
    evidence_maps: EvidenceMaps | None = Field(None, description="With `evidence=maps`.")
    hounsfield: str | None = Field(
        None,
        description="With `pixels=png`, of DICOM: data URL of a lossless PNG in colour, whose "
        "256 * red + green is the Hounsfield unit + 1024.",
    )
    overlay: str | None = Field(None, description="With `overlay=png`: data URL of a PNG.")


class Skipped(BaseModel):
    """A file that is no slice."""

    file: Position = Field(description="Position of its upload, from 1.")
    reason: str


class Study(BaseModel):
    """The answer for a DICOM series, or for all pictures of the request together."""

    kind: Literal["pictures", "dicom"]
    slices: list[Place] = Field(description="Indices into `predictions`.")
    probabilities: dict[str, Share] = Field(
        description="Softmax of the mean over slices of log probability. Slices that are no "
        "kidney CT do not count, unless all are."
    )
    label: str = Field(description="The most probable class.")
    decision: str = Field(description="By the rules of slices, of these probabilities.")
    decisive: list[Place] = Field(
        description="Indices of the slices that speak most for the label, most telling first."
    )
    counts: dict[str, Place] = Field(description="Decision -> number of slices.")
    suspected: dict[str, Place] = Field(
        description="Finding -> number of slices on which it cannot be excluded."
    )
    skipped: list[Skipped] = Field(description="What was sent along and is no slice.")
    view: str | None = Field(description="`axial`, `coronal`, `sagittal`, `oblique` or unknown.")
    slice_mm: float | None = Field(description="Distance of neighbouring slices.")
    contrast: str | None = Field(
        description="`enhanced` where the file names a contrast agent; null proves nothing."
    )
    window: tuple[float, float] | None = Field(
        description="Centre and width in HU through which the model saw it; null for pictures."
    )


class Predictions(BaseModel):
    """The answer for all slices of a request."""

    model: ModelName
    predictions: list[Prediction] = Field(
        description="One a slice: pictures in the order sent, then each series from head to feet."
    )
    studies: list[Study]
    notice: str


class Card(RootModel[ModelCard]):
    """The model card: classes, rules for decisions, figures, data, origin, limits."""


class Status(BaseModel):
    """That it works."""

    status: str


class Readiness(Status):
    """That the model answers."""

    sha256: str = Field(description="SHA-256 of its file.")
    new_model_refused: bool = Field(
        description="A newer file is there and failed its checks: the server's log says why."
    )


class ProblemDetails(BaseModel):
    """An error, RFC 9457."""

    type: str = Field(description="URI that names the kind for programs.")
    title: str = Field(description="The kind of problem.")
    status: int = Field(description="HTTP status code.")
    detail: str = Field(description="What was expected and what came.")
    remedy: str = Field(description="What the sender can do.")
    instance: str = Field(description="URI of this very request.")
    request_id: str = Field(description="As in the header X-Request-ID.")
