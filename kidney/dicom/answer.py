"""What the HTTP server answers for a series, and which slices and findings a result shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TypeVar

import numpy as np
import requests
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError

from kidney.dicom.archive import FinalError, TransientError, send, session
from kidney.dicom.settings import Settings

NORMAL, NEEDS_REVIEW, NOT_A_KIDNEY_CT = "normal", "needs_review", "not_a_kidney_ct"
MOST_SHOWN = 8  # slices in a result
_HALF = 0.5  # a region holds the evidence above this part of its peak

_Body = TypeVar("_Body", bound=BaseModel)


class Model(BaseModel):
    """The model that answered."""

    run: str
    code: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Maps(BaseModel):
    """The evidence maps of a slice; see `EvidenceMaps` of the server."""

    region: tuple[float, float, float, float]
    maps: dict[str, list[list[float]]]


class SliceFinding(BaseModel):
    """A finding on a slice, by a model with a map for each: where it peaks (row, column)."""

    probability: float
    peak: tuple[float, float]


class Slice(BaseModel):
    """The prediction for one slice."""

    file: int
    frame: int
    series: int
    decision: str
    label: str
    probabilities: dict[str, float]
    suspected: tuple[str, ...]
    size: tuple[int, int]
    findings: dict[str, SliceFinding] | None = None
    evidence_maps: Maps | None = None
    overlay: str | None = None


class Finding(BaseModel):
    """A finding on the series; `first`, `last` and `slices` are indices of slices."""

    finding: str
    suspected: bool
    probability: float
    first: int | None
    last: int | None
    slices: list[int]
    side: str | None
    diameter_mm: float | None


class Series(BaseModel):
    """The prediction for a series."""

    kind: str
    slices: list[int]
    probabilities: dict[str, float]
    label: str
    decision: str
    decisive: list[int]
    suspected: dict[str, int]
    findings: list[Finding] = []


class Answer(BaseModel):
    """The response to one request; members that are not used here are passed over."""

    model: Model
    predictions: list[Slice]
    series: list[Series]


class _Ready(BaseModel):
    sha256: str


class _Problem(BaseModel):
    type: str = ""


@dataclass(frozen=True, eq=False)
class Shown:
    """One region of one slice that a result shows.

    Attributes:
        file: position of the slice among the files of the series, from 0.
        name: a finding, "normal", "needs_review" or "not_a_kidney_ct".
        probability: of `name` on the slice; with "needs_review" of the most probable class; None
            with "not_a_kidney_ct".
        label: the class that `probability` is of.
        series: what the server says of the series of the slice.
        box: top, left, bottom, right in pixels of the upright slice; 0 is its edge.
        mask: bool (H, W) of the upright slice, where the evidence lies; None: nowhere.
        overlay: data URL of the PNG that shows the evidence.
    """

    file: int
    name: str
    probability: float | None
    label: str
    series: Series
    box: tuple[float, float, float, float]
    mask: NDArray[np.bool_] | None
    overlay: str | None

    @property
    def finding(self) -> Finding | None:
        """What the server says of the finding on the whole series, if it does."""
        return next((one for one in self.series.findings if one.finding == self.name), None)


class Server:
    """Client of the HTTP server."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._session = session(settings)
        if settings.server_key:
            self._session.headers["Authorization"] = f"Bearer {settings.server_key}"

    def model_sha256(self) -> str:
        """Return the SHA-256 of the model that answers now."""
        answer = self._send("GET", "/readyz")
        if answer.status_code != requests.codes.ok:
            raise TransientError("server-not-ready")
        return _parse(_Ready, answer).sha256

    def predict(self, files: Sequence[bytes], *, shown: bool = False) -> Answer:
        """Return the answer for the files of one series, with maps and overlays if `shown`."""
        answer = self._send(
            "POST",
            "/api/v1/predictions",
            params={"evidence": "maps", "overlay": "png"} if shown else {},
            files=[("file", (str(number), data)) for number, data in enumerate(files)],
        )
        if answer.status_code == requests.codes.ok:
            return _parse(Answer, answer)
        # The last part of the type is a word of the server's; its texts are not read.
        kind = _parse(_Problem, answer).type.rpartition(":")[2] or f"server-{answer.status_code}"
        if answer.status_code in (400, 413, 415, 422):
            raise FinalError(kind)
        raise TransientError(kind)

    def _send(self, method: str, path: str, **options: object) -> requests.Response:
        return send(
            self._session, method, self._settings.server + path, "server",
            timeout=self._settings.timeout_seconds, **options,
        )  # fmt: skip


def decision_of(answer: Answer) -> str:
    """Return the decision on all stacks of a series; where they differ, a radiologist is needed."""
    decisions = {one.decision for one in answer.series}
    return decisions.pop() if len(decisions) == 1 else NEEDS_REVIEW


def decisive_slices(answer: Answer) -> list[int]:
    """Return the indices of the slices that a result shows, the most telling first.

    Those that the server calls decisive; where there are none, the middle slice. The server makes
    several series of one that has several stacks: each of them has its turn.
    """
    of_stacks = [one.decisive or [one.slices[len(one.slices) // 2]] for one in answer.series]
    turns = zip_longest(*of_stacks)
    return [at for turn in turns for at in turn if at is not None][:MOST_SHOWN]


def shown_regions(answer: Answer, details: Answer, indices: Sequence[int]) -> list[Shown]:
    """Return what a result shows: each suspected finding of each decisive slice.

    A slice on which nothing is suspected is shown whole, so that a viewer has something to show.

    Args:
        answer: for all files of the series.
        details: for the decisive slices alone, with maps and overlays.
        indices: of these slices in `answer`, in the order in which they were sent.
    """
    shown: list[Shown] = []
    for one in sorted(details.predictions, key=lambda one: one.file):  # the most telling first
        at = indices[one.file - 1]
        series = answer.series[answer.predictions[at].series]
        counted = {name for name, count in series.suspected.items() if count}
        names = {name for name in one.suspected if name in counted} | {
            found.finding for found in series.findings if found.suspected and at in found.slices
        }
        probabilities = one.probabilities | {
            name: found.probability for name, found in (one.findings or {}).items()
        }
        for name in sorted(names, key=lambda name: -probabilities.get(name, 0.0)) or [
            _unsuspected(series, one)
        ]:
            mask = _mask(one, name) if name in names else None
            label = one.label if name == NEEDS_REVIEW else name
            shown.append(
                Shown(
                    file=answer.predictions[at].file - 1,
                    name=name,
                    probability=probabilities.get(label),
                    label=label,
                    series=series,
                    box=_box(mask, one, name),
                    mask=mask,
                    overlay=one.overlay,
                )
            )
    return shown


def evidence_mask(
    evidence: Sequence[Sequence[float]],
    region: tuple[float, float, float, float],
    size: tuple[int, int],
) -> NDArray[np.bool_]:
    """Return where the evidence is at least half of its peak, cell by cell.

    Args:
        evidence: rows of the map of one class.
        region: top, left, bottom and right of the map in pixels of the slice; may leave the slice.
        size: height and width of the slice.

    Returns:
        bool (height, width); all False where no evidence is positive, or the peak lies outside.
    """
    values = np.asarray(evidence, dtype=np.float64)
    peak = values.max(initial=0.0)
    strong = (values >= _HALF * peak) & (values > 0)
    top, left, bottom, right = region
    # The cell under the middle of each pixel.
    rows = np.floor((np.arange(size[0]) + 0.5 - top) / (bottom - top) * values.shape[0])
    columns = np.floor((np.arange(size[1]) + 0.5 - left) / (right - left) * values.shape[1])
    inside = ((rows >= 0) & (rows < values.shape[0]))[:, None] & (
        (columns >= 0) & (columns < values.shape[1])
    )
    rows = np.clip(rows, 0, values.shape[0] - 1).astype(int)
    columns = np.clip(columns, 0, values.shape[1] - 1).astype(int)
    return np.asarray(strong[rows[:, None], columns] & inside)


def _unsuspected(series: Series, one: Slice) -> str:
    """Return the words for a slice without a suspected finding: no more than for its series."""
    if one.decision == NOT_A_KIDNEY_CT:
        return NOT_A_KIDNEY_CT
    return one.label if series.decision == one.label else NEEDS_REVIEW


def _mask(one: Slice, name: str) -> NDArray[np.bool_] | None:
    maps = one.evidence_maps
    if maps is None or name not in maps.maps:
        return None
    mask = evidence_mask(maps.maps[name], maps.region, one.size)
    return mask if mask.any() else None


def _box(
    mask: NDArray[np.bool_] | None, one: Slice, name: str
) -> tuple[float, float, float, float]:
    """Return the smallest box around the mask, else one around the peak, else the middle."""
    height, width = one.size
    margin = min(one.size) / 8  # room for a viewer's words
    if mask is not None:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        return float(rows[0]), float(columns[0]), float(rows[-1] + 1), float(columns[-1] + 1)
    if one.findings and name in one.findings:
        row, column = one.findings[name].peak
        around, half = np.clip([row, column], 0, one.size), margin / 2
        top, left = np.maximum(around - half, 0)
        bottom, right = np.minimum(around + half, one.size)
        return float(top), float(left), float(bottom), float(right)
    return margin, margin, height - margin, width - margin


def _parse(kind: type[_Body], answer: requests.Response) -> _Body:
    try:
        return kind.model_validate_json(answer.content)
    except ValidationError:
        raise TransientError("server-answer") from None
