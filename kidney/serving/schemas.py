"""What the API takes and returns: the models that make each response also document it."""

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
Count = Annotated[int, Field(ge=0)]


class _Parameters(BaseModel):
    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the schema; flask-openapi3 asks for it in each request, and it takes 0.2 ms."""
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
    """What the response holds beside its figures."""

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
    """The model that answered."""

    run: str = Field(description="Tracking run that trained it.")
    code: str = Field(description="git commit of the code that trained it.")
    created: str = Field(description="UTC time of its export, ISO 8601.")
    precision: str = Field(description="`float32`, `float16` or `int8`.")
    sha256: str = Field(description="SHA-256 of its file.")


class ClassEvidence(BaseModel):
    """The evidence map of one class in numbers, in units of its logit."""

    mean: float = Field(description="Mean of the map: the logit is `mean` plus the bias.")
    strongest: float = Field(description="Highest value of the map.")
    peak: tuple[float, float] | None = Field(
        description="Row and column of that value in pixels; null where it is not positive."
    )
    share: Share = Field(
        description="Share of all positive evidence at the peak and in the 8 cells around it: "
        "near 1 for a spot, small for evidence that is spread; 0 without any."
    )


class EvidenceMaps(BaseModel):
    """The evidence maps of a slice."""

    strongest: float = Field(description="Highest value of all classes: full colour.")
    region: tuple[float, float, float, float] = Field(
        description="Top, left, bottom and right of the maps in pixels; may leave the slice."
    )
    maps: dict[str, list[list[float]]] = Field(description="Class -> rows of the map.")


class SliceFinding(BaseModel):
    """One finding on a slice, by the map of a model that has one for it."""

    probability: Share = Field(description="That the slice shows it, at even odds before.")
    peak: tuple[float, float] = Field(
        description="Row and column in pixels where its map is highest, however low that is."
    )


class SlicePrediction(BaseModel):
    """The prediction for one slice."""

    file: Position = Field(description="Position of its upload, from 1; a zip is one upload.")
    frame: Position = Field(description="Its position among the slices of that upload, from 1.")
    series: Count = Field(description="Index of its series in `series`.")
    decision: str = Field(description="A class, `needs_review` or `not_a_kidney_ct`.")
    label: str = Field(description="The most probable class, sure or not.")
    probabilities: dict[str, Share] = Field(description="Class -> calibrated probability.")
    set: tuple[str, ...] = Field(description="Prediction set: the classes that remain possible.")
    suspected: tuple[str, ...] = Field(description="Findings that cannot be excluded.")
    ood_score: float | None = Field(
        description="How unlike the training data it is; null where the model does not measure it."
    )
    size: tuple[int, int] = Field(description="Height and width in pixels.")
    evidence: dict[str, ClassEvidence] = Field(description="Class -> summary of its evidence.")
    findings: dict[str, SliceFinding] | None = Field(
        None, description="Finding -> where it would lie; of models with a map for each finding."
    )
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


class SeriesFinding(BaseModel):
    """One finding on a series, where it shows most."""

    finding: str
    suspected: bool = Field(description="Whether it cannot be excluded.")
    probability: Share = Field(
        description="Its score: the highest mean over 3 neighbouring slices of its probability."
    )
    threshold: float = Field(description="Score from which it is suspected.")
    first: Count | None = Field(
        description="Index of the first slice of the run; null for pictures, which have no order."
    )
    last: Count | None = Field(description="Index of the last slice of the run.")
    slices: list[Count] = Field(description="Indices of the slices of the score, best first.")
    side: Literal["left", "right"] | None = Field(
        description="Of the patient; null where the files or the model do not tell it."
    )
    diameter_mm: float | None = Field(
        description="Greatest extent on these slices: of the places with at least half of the "
        "peak's probability; null where it or the distance of pixels is not known."
    )
    text: str = Field(description="All of this in words.")


class SeriesPrediction(BaseModel):
    """The prediction for a DICOM series, or for all pictures of the request together."""

    kind: Literal["pictures", "dicom"]
    slices: list[Count] = Field(description="Indices into `predictions`.")
    probabilities: dict[str, Share] = Field(
        description="Softmax of the mean over slices of log probability. Slices that are no "
        "kidney CT do not count, unless all are."
    )
    label: str = Field(description="The most probable class.")
    decision: str = Field(
        description="A class, `needs_review` or `not_a_kidney_ct`. Never `normal` while a finding "
        "cannot be excluded on a run of slices, or slices between others were refused."
    )
    decisive: list[Count] = Field(
        description="Indices of the slices to look at first, most telling first: those of the "
        "suspected findings, else those that speak most for the label."
    )
    findings: list[SeriesFinding] = Field(
        description="All findings: the suspected ones first, a tumour before all others."
    )
    counts: dict[str, Count] = Field(description="Decision -> number of slices.")
    suspected: dict[str, Count] = Field(
        description="Finding -> number of slices on which it cannot be excluded."
    )
    skipped: list[Skipped] = Field(description="Files that were sent along and are no slices.")
    doubts: list[str] = Field(
        description="Why the numbers may be no Hounsfield units; empty where nothing says so."
    )
    plane: str | None = Field(description="`axial`, `coronal`, `sagittal`, `oblique` or unknown.")
    slice_mm: float | None = Field(description="Distance of neighbouring slices.")
    contrast: str | None = Field(
        description="`enhanced` where the file names a contrast agent; null proves nothing."
    )
    window: tuple[float, float] | None = Field(
        description="Centre and width in HU through which the model saw it; null for pictures."
    )


class Response(BaseModel):
    """The response to one request."""

    model: ModelName
    predictions: list[SlicePrediction] = Field(
        description="One a slice: each DICOM series from head to feet, then pictures as sent."
    )
    series: list[SeriesPrediction]
    notice: str
    result: str | None = Field(None, description="With feedback on: the id of this result.")


class Feedback(_Parameters):
    """What a reader says of one series of a result."""

    model_config = ConfigDict(extra="forbid")

    result: str = Field(description="Id of the result.", max_length=64)
    series: Count = Field(0, description="Index of the series in the response.")
    verdict: Literal["agree", "disagree"] = Field(description="With the label of the series.")
    label: str | SkipJsonSchema[None] = _optional("The reader's class; needed to disagree.")
    slices: list[Position] = Field(
        [],
        max_length=10_000,
        description="Positions in the series, from 1, that show it; none: the series as a whole.",
    )


class Noted(BaseModel):
    """Feedback that is kept."""

    result: str = Field(description="Id of the result.")
    label: str = Field(description="The reader's class.")
    slices: list[Position]


class Card(RootModel[ModelCard]):
    """The model card: classes, rules for decisions, figures, data, origin, limits."""


class Status(BaseModel):
    """The process is up."""

    status: str


class Readiness(Status):
    """The model answers."""

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
    instance: str = Field(description="URI of this request.")
    request_id: str = Field(description="As in the header X-Request-ID.")
