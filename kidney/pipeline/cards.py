"""The cards of a model and its data: files of the stages in, two pages of Markdown out."""

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from kidney.artifact.card import ModelCard
from kidney.artifact.integrity import check_seal
from kidney.artifact.reader import read_artifact
from kidney.data.cache import open_thumbnails
from kidney.data.data_card import data_card, lesion_data_card
from kidney.data.manifest import read_boundaries, read_manifest, read_rejected
from kidney.data.scans.similarity import coordinates
from kidney.data.split import LEAKY, make_split, read_split
from kidney.data.validation.leakage import measure_leakage
from kidney.data.validation.report import ValidationReport
from kidney.errors import ArtifactError, KidneyError
from kidney.evaluation.metrics.classification import group_figures
from kidney.evaluation.predictions import read_predictions
from kidney.evaluation.report.cards import artifact_card
from kidney.evaluation.result import EvaluationResult, GroupFigures, Localisation
from kidney.files import parse_json, write_text

MODEL_CARD, DATA_CARD = "MODEL_CARD.md", "DATA_CARD.md"
SOURCES, TARGETS = "sources.md", "targets.md"  # of lesion models, beside their evaluation
_AIMS = (
    "Each patient is tested by a network and a head that have not seen the patient; intervals are "
    "over patients. Temperature, findings and rules were fitted to these predictions together. "
    "The thresholds of the finder, and those of whole series (row 7), were chosen on the slices "
    "and series that they are measured on, and KAUH served as a development set: these rows "
    "flatter. One assignment of patients to folds."
)
_Record = TypeVar("_Record")


def write_cards(artifact: Path, evaluation: Path | None, data: Path | None, out: Path) -> None:
    """Write MODEL_CARD.md and DATA_CARD.md; the same files in give the same bytes.

    Args:
        artifact: kidney.onnx.
        evaluation: folder of the evaluation that it was exported with; None: beside the artifact.
        data: folder of its data; None: in the workspace that the artifact lies in.
        out: folder where the cards go.

    Raises:
        KidneyError: a file is missing, or they are not of one model and one manifest.
    """
    content, card = read_artifact(artifact)
    if not card.metrics:
        raise ArtifactError(
            f"Expected figures in the card of {artifact}, but it was never evaluated.",
            "Run python scripts/evaluate.py and python export.py first.",
        )
    split = card.metrics.split.name
    evaluation = evaluation or artifact.parent / "evaluation" / split
    data = data or artifact.parent.parent / "data" / card.data.name
    metrics = evaluation / "metrics.json"
    result = _read(metrics, EvaluationResult, "scripts/evaluate.py")
    groups = {
        kind: {value: GroupFigures.model_validate(one) for value, one in of.items()}
        for kind, of in group_figures(
            read_predictions(evaluation / "predictions.csv"), card.classes
        ).items()
    }
    model = artifact_card(
        card, artifact.name, len(content), check_seal(content), result, groups,
        list(_localisations(artifact.parent / "localisation", card)),
    )  # fmt: skip
    if (evaluation / SOURCES).is_file():  # a lesion model, of several sources
        targets = evaluation / TARGETS
        if targets.is_file():
            model += f"\n## By source, and what was aimed at\n\n{_AIMS}\n\n{targets.read_text()}"
        sources = (evaluation / SOURCES).read_text()
        described = lesion_data_card(sources, card.data.slices, card.image_size)
    else:
        described = _data_card(data, card, split)
    write_text(out / MODEL_CARD, model)
    write_text(out / DATA_CARD, described)


def _data_card(folder: Path, card: ModelCard, split_name: str) -> str:
    slices = read_manifest(folder)
    split = read_split(folder, split_name, slices)
    report = _read(folder / "validation.json", ValidationReport, "scripts/validate.py")
    thumbnails = open_thumbnails(folder, slices)
    leaky = make_split(LEAKY, slices, split.folds, split.seed)
    random = measure_leakage(slices, thumbnails, coordinates(thumbnails), leaky)
    if report.data != card.data.fingerprint:
        raise ArtifactError(
            f"Expected the data that the model learned from, {card.data.fingerprint}, but "
            f"{folder} holds {report.data}.",
            "Name the folder of its data, or train on the data that are there now.",
        )
    rejected, doubtful = read_rejected(folder), read_boundaries(folder)
    return data_card(card.data.name, slices, rejected, doubtful, split, report, random)


def _localisations(folder: Path, card: ModelCard) -> Iterator[Localisation]:
    """Yield what was measured of this model; other models may have been measured there before."""
    for path in sorted(folder.glob("*/localisation.json")):
        found = _read(path, Localisation, "scripts/localise.py")
        if found.model.run == card.run:
            yield found


def _read(path: Path, kind: type[_Record], maker: str) -> _Record:
    try:
        return parse_json(kind, path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise KidneyError(
            f"Expected {path.name} in {path.parent}, but: {error}.",
            f"Run python {maker} with the same arguments first.",
        ) from error
