"""The result of an evaluation as typed records, and metrics.json as the form that is kept."""

import json
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from kidney.artifact.decision import Rules
from kidney.files import parse_json


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, populate_by_name=True)


class Figure(_Record):
    """A figure with its 95 % interval; None where it, or its interval, is not defined."""

    value: float | None
    low: float | None = None
    high: float | None = None


class ModelRecord(_Record):
    """The model that was evaluated; `checkpoint` is the SHA-256 of its file, if it was one."""

    model_config = ConfigDict(frozen=True, extra="allow")
    backbone: str
    run: str
    code: str = ""
    checkpoint: str | None = None


class DataRecord(_Record):
    """The data set; further keys of the lineage, such as the window, are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")
    name: str
    source: str = ""
    fingerprint: str | None = None
    slices: int | None = None
    scans: int | None = None


class SplitRecord(_Record):
    """The part of the split that was evaluated; fold "all" means that all folds are pooled."""

    model_config = ConfigDict(frozen=True, extra="allow")
    name: str
    fingerprint: str | None = None
    fold: int | Literal["all"]
    validation_folds: tuple[int, ...] = ()
    folds: int
    part: str


class Group(_Record):
    """Slices of one contrast phase, plane or size, with figures; None where undefined."""

    slices: int
    scans: int
    figures: dict[str, float | None]


class RankedScan(_Record):
    """One scan and how probable its true label was; `row` is its worst slice's in the table."""

    scan: str
    label: str
    predicted: str = Field(alias="says")
    probability: float
    slices: int
    row: int


class Bin(_Record):
    """Slices of about the same confidence: a bin of the reliability diagram, all 0 to 1."""

    low: float
    high: float
    confidence: float
    accuracy: float
    share: float


class Curves(_Record):
    """ROC and precision-recall of a class against the rest; empty where either does not occur."""

    fpr: list[float]
    tpr: list[float]
    precision: list[float]
    recall: list[float]


class RiskCoverage(_Record):
    """Share of errors over the share of predictions accepted, most confident first."""

    coverage: list[float]
    risk: list[float]


class EvaluationResult(_Record):
    """All figures of one evaluation.

    Attributes:
        model, data, split: what was evaluated.
        rules: the thresholds of the model; None where several folds are pooled.
        classes: K names.
        slices, scans, patients: counts.
        figures: of slices, with 95 % intervals over patients; see `evaluate`.
        scan_figures: the same for whole scans.
        confusion, scan_confusion: counts (K, K), true class in rows, predicted class in columns.
        reliability: the bins of the ECE.
        ece_by_chance: the ECE that these probabilities would show if they were true.
        risk_coverage: about 100 points.
        curves: class -> ROC and precision-recall.
        predictive_values: finding -> prevalence -> ppv and npv at the operating point.
        decision_curves: finding -> threshold, and net benefit of model and everyone.
        groups: phase, plane and size -> value -> figures.
        scans_ranked: worst first.
        ood: figures of the out-of-distribution score; None where not measured.
    """

    model: ModelRecord
    data: DataRecord
    split: SplitRecord
    rules: Rules | None = None
    classes: tuple[str, ...]
    slices: int
    scans: int
    patients: int
    figures: dict[str, Figure]
    scan_figures: dict[str, Figure]
    confusion: list[list[int]]
    scan_confusion: list[list[int]]
    reliability: list[Bin]
    ece_by_chance: Figure
    risk_coverage: RiskCoverage
    curves: dict[str, Curves]
    predictive_values: dict[str, dict[str, dict[str, float | None]]] = {}
    decision_curves: dict[str, dict[str, list[float]]] = {}
    groups: dict[str, dict[str, Group]]
    scans_ranked: list[RankedScan]
    ood: dict[str, Figure] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the content of metrics.json; a part that was not measured has no key."""
        content = self.model_dump(mode="json", by_alias=True, exclude_unset=True)
        return {key: value for key, value in content.items() if value is not None}

    def to_json(self) -> str:
        """Return metrics.json.

        Raises:
            ValueError: a figure is NaN or infinite.
        """
        return json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n"

    def of_card(self) -> dict[str, Any]:
        """Return what the card inside a kidney.onnx carries of it."""
        content = self.to_dict()
        return {key: content[key] for key in ("split", "slices", "scans", "figures")}

    @classmethod
    def read_file(cls, path: Path) -> Self:
        """Read metrics.json, also of earlier versions.

        Raises:
            OSError: the file cannot be read.
            ValueError: a key is missing or holds something else.
        """
        return parse_json(cls, path.read_text(encoding="utf-8"))

    def known(self, kind: str, names: tuple[str, ...]) -> dict[str, Figure]:
        """Return class -> its figure of this kind, such as "recall", where that is defined."""
        found = {name: self.figures.get(f"{kind}_{name}") for name in names}
        return {
            name: figure for name, figure in found.items() if figure and figure.value is not None
        }


class GroupFigures(_Record):
    """Slices of one group, with intervals; see `group_figures`."""

    scans: int
    slices: int
    figures: dict[str, Figure]


class Localisation(_Record):
    """How well the evidence of a model finds lesions that somebody has drawn.

    Attributes:
        model, data: what was measured, and on which slices.
        slices, patients: how many.
        maps: name of a map -> its figures.
        localisation: the figures of the map that is shown, then those of the others.
    """

    model: ModelRecord
    data: DataRecord
    slices: int
    patients: int
    maps: dict[str, dict[str, Figure]]
    localisation: dict[str, Figure]
