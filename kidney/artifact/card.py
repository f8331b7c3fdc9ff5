"""The model card: everything that a consumer of kidney.onnx has to know, carried inside the file.

The card travels as one JSON text under one key of the ONNX metadata, so any ONNX runtime reads it.
Its parts are validated where they are made and where they are read: a file with a broken part is
refused when it is opened, with the name of the part, and not by the request that needs it.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Annotated

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from kidney.artifact.decision import Rules, findings
from kidney.artifact.integrity import UNSEALED
from kidney.errors import ArtifactError
from kidney.imaging.pictures import MIN_SIDE
from kidney.imaging.windows import ABDOMEN, Window, window_named

METADATA_KEY = "kidney.card"
SCHEMA = 5
PRECISIONS = ("float32", "float16", "int8")

_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
_Count = Annotated[int, Field(ge=0)]
_Positive = Annotated[float, Field(gt=0)]
_Deciles = Annotated[tuple[float, ...], Field(min_length=11, max_length=11)]
_MOST_ERRORS = 3  # of a broken card that its message lists


@dataclass(frozen=True, config=_STRICT)
class InputContract:
    """What to feed, in words, except for `smallest_side`: pixels."""

    name: str
    dtype: str
    layout: str
    values: str
    smallest_side: _Count
    sizes: str
    colour: str
    orientation: str
    in_the_graph: str


INPUT_CONTRACT = InputContract(
    name="slices",
    dtype="uint8",
    layout="N, 1, height, width: any number of slices of one size",
    values="0 to 255, black to white",
    smallest_side=MIN_SIDE,
    sizes="any height and width in pixels; send the original resolution",
    colour="one channel of grey; of a colour picture its luma (ITU-R 601)",
    orientation="as a radiologist looks at it: the patient's right on the left of the picture, "
    "front at the top of an axial slice, head at the top of a coronal one",
    in_the_graph="finding the body, cutting it out, antialiased resize, normalisation, "
    "temperature and softmax",
)


@dataclass(frozen=True, config=_STRICT)
class WindowContract:
    """Which Hounsfield units the greys stand for: center and width in HU, the rest in words."""

    center: float
    width: Annotated[float, Field(gt=1)]
    unit: str
    formula: str
    why: str
    pictures: str

    @property
    def window(self) -> Window:
        """The window to show Hounsfield units through."""
        return Window(center=self.center, width=self.width)


def window_contract(training_window: str | None) -> WindowContract:
    """Return the window that a model expects.

    Args:
        training_window: that of training data in Hounsfield units, as `window_named` reads it;
            None: training data were pictures, grey already.

    Raises:
        ConfigError: `training_window` names no window.
    """
    window = window_named(training_window) if training_window else ABDOMEN
    return WindowContract(
        center=window.center,
        width=window.width,
        unit="HU",
        formula="255 * clip((hu - (center - 0.5)) / (width - 1) + 0.5, 0, 1), rounded: linear, "
        "DICOM PS3.3 C.11.2.1.2",
        why="training slices were made with it"
        if training_window
        else "training slices were pictures, which do not tell theirs; it is the usual one for "
        "soft tissue",
        pictures="JPEG, PNG and TIFF are taken as windowed already; never stretch a picture to "
        "its own minimum and maximum",
    )


@dataclass(frozen=True, config=_STRICT)
class TrainingData:
    """The data set that the model was trained on; `window` is None where it holds pictures."""

    name: str
    source: str
    fingerprint: str
    slices: _Count
    scans: _Count
    window: str | None = None


@dataclass(frozen=True, config=_STRICT)
class Embedding:
    """Mean and standard deviation over slices of an 8 x 8 picture, in grey."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, config=_STRICT)
class Baseline:
    """What the training slices look like, to notice drift; see `kidney.imaging.appearance`."""

    slices: _Count
    grey: Annotated[tuple[float, ...], Field(min_length=16, max_length=16)]
    sizes: dict[str, float]
    phase: dict[str, float]
    plane: dict[str, float]
    enhancement: _Deciles
    soft_grey: _Deciles
    body_share: _Deciles
    embedding: Embedding


@dataclass(frozen=True, config=_STRICT)
class EvaluatedSplit:
    """Which part of which split was evaluated; `fold` is "all" where the folds were pooled."""

    name: str
    fold: int | str
    folds: int
    part: str
    fingerprint: str = ""
    validation_folds: tuple[int, ...] = ()


@dataclass(frozen=True, config=_STRICT)
class Figure:
    """A figure with its 95 % interval; None where it cannot be computed."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, config=_STRICT)
class Metrics:
    """Test figures; one without an interval is a plain number."""

    split: EvaluatedSplit
    slices: _Count
    scans: _Count
    figures: dict[str, Figure | float | None]


@dataclass(frozen=True, config=_STRICT)
class Verification:
    """How a float32 file agrees with torch: `largest` has the largest difference of each output."""

    slices: _Count
    batches: tuple[int, ...]
    sizes: tuple[str, ...]
    largest: dict[str, float]
    torch: str


@dataclass(frozen=True, config=_STRICT)
class ConversionVerification:
    """How an int8 or float16 file agrees with the float32 file; see `kidney.export.convert`."""

    recipe: str
    slices: _Count
    auroc: float
    auroc_lost: float
    peaks_kept: float
    same_class: float
    largest_change: float


@dataclass(frozen=True, config=_STRICT)
class Benchmark:
    """Time and memory of one prediction, with the machine; `speed` is relative to float32."""

    milliseconds: float
    milliseconds_95: float
    size_mb: float
    slice: tuple[int, int]
    threads: int
    machine: str
    onnxruntime: str
    peak_memory_mb: float | None = None
    speed: float | None = None


@dataclass(frozen=True, config=_STRICT)
class ModelCard:
    """What the artifact is, where it comes from and how far to trust it.

    Attributes:
        classes: class names in the order of the outputs, for example ("normal", "cyst", ...).
        names: class -> what it is called for people.
        input: what to feed.
        window: which Hounsfield units the greys stand for.
        image_size: side in pixels to which the graph itself resizes a slice.
        backbone: timm's name of the network below the head.
        weights: where the backbone's weights came from before training.
        weights_licence: under which licence they came.
        precision: of the weights and sums, one of PRECISIONS.
        made_from: SHA-256 of the float32 file that another precision was made from; None: of none.
        bias: bias of the head, one a class: logit_c = mean(evidence_c) + bias_c.
        temperature: probabilities = softmax(logits / temperature); 1.0 means not calibrated.
        rules: how probabilities become decisions, fitted on validation scans.
        data: the training data.
        baseline: what they look like; None: drift is not measured.
        metrics: test figures; None: the model was not evaluated.
        verification: how the file agrees with what it was made from; None: not verified yet.
        benchmark: time and memory; None: not measured yet.
        code: git commit of the code that trained it, "-dirty" appended for uncommitted changes.
        run: id of the tracking run.
        created: UTC time of the export, ISO 8601.
        intended_use: what it is for.
        limits: what it must not be used for and where it is known to be weak.

    Raises:
        ValidationError: a part is not as described.
    """

    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    names: dict[str, str]
    input: InputContract
    window: WindowContract
    image_size: Annotated[int, Field(gt=0)]
    backbone: str
    weights: str
    weights_licence: str
    precision: str
    made_from: str | None
    bias: tuple[float, ...]
    temperature: _Positive
    rules: Rules
    data: TrainingData
    baseline: Baseline | None
    metrics: Metrics | None
    verification: Verification | ConversionVerification | None
    benchmark: Benchmark | None
    code: str
    run: str
    created: str
    intended_use: str
    limits: str

    @model_validator(mode="after")
    def _check_against_classes(self) -> "ModelCard":
        points, names = sorted(self.rules.suspect_from), sorted(self.names)
        sets = sorted(self.rules.set_from)
        for fits, expected, got in (
            (sets == sorted(self.classes), "thresholds of the sets for the classes", sets),
            (points == sorted(findings(self.classes)), "operating points for the findings", points),
            (names == sorted(self.classes), "names for the classes", names),
            (len(self.bias) == len(self.classes), "a bias for each class", self.bias),
            (self.precision in PRECISIONS, f"a precision in {PRECISIONS}", self.precision),
        ):
            if not fits:
                raise ValueError(f"expected {expected}, for {self.classes}, but got {got}")
        return self


_READER = TypeAdapter(ModelCard)


def to_metadata(card: ModelCard) -> dict[str, str]:
    """Return the ONNX metadata entries that carry `card`, and the one that `seal` fills."""
    text = json.dumps({"schema": SCHEMA, **dataclasses.asdict(card)})
    return {METADATA_KEY: text, **UNSEALED}


def from_metadata(metadata: Mapping[str, str]) -> ModelCard:
    """Read the card out of ONNX metadata.

    Raises:
        ArtifactError: there is no card, its schema is another one, or a part is missing or broken;
            the message names the part.
    """
    if METADATA_KEY not in metadata:
        raise ArtifactError(
            f"Expected an ONNX file with a model card under {METADATA_KEY!r}, but it has "
            f"{sorted(metadata) or 'no metadata'}.",
            "Use a kidney.onnx that export.py wrote; other ONNX files are not served.",
        )
    try:
        fields = json.loads(metadata[METADATA_KEY])
        if not isinstance(fields, dict):
            raise ValueError(f"expected an object, but got {type(fields).__name__}")
    except (ValueError, RecursionError) as error:
        raise _unreadable(str(error)) from error
    if (schema := fields.pop("schema", None)) != SCHEMA:
        raise ArtifactError(
            f"Expected a model card of schema {SCHEMA}, but got {schema!r}.",
            "Export the model again with this version, or run the version that exported it.",
        )
    try:
        return _READER.validate_python(fields)
    except ValidationError as error:
        raise _unreadable(_summary(error)) from error


def _summary(error: ValidationError) -> str:
    """Name the broken parts of a card: "window.center: Field required"."""
    found = [
        f"{'.'.join(map(str, one['loc']))}: {one['msg']}" if one["loc"] else one["msg"]
        for one in error.errors(include_url=False, include_input=False)
    ]
    more = [f"and {len(found) - _MOST_ERRORS} more"] if len(found) > _MOST_ERRORS else []
    return "; ".join(found[:_MOST_ERRORS] + more)


def _unreadable(problem: str) -> ArtifactError:
    return ArtifactError(
        f"The model card cannot be read: {problem}.", "Export the model again with export.py."
    )
