"""The commands of lesion models: from conf/lesions.yaml to kidney.onnx and the table of targets."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from hydra.utils import instantiate
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from kidney.data.lesions.records import Source
from kidney.data.lesions.store import shown
from kidney.errors import ArtifactError
from kidney.evaluation.evaluate import evaluate
from kidney.evaluation.predictions import FILES, write_result
from kidney.files import sha256, write_text
from kidney.models.backbones import weights_identity
from kidney.models.checkpoint import load_checkpoint, save_checkpoint
from kidney.pipeline.cards import SOURCES, TARGETS
from kidney.pipeline.entry import print_figures, tracking_of, workspace_of
from kidney.tracking.runs import CHECKPOINT, log_result, tracked_run
from kidney.training.lesion_model import (
    SPLIT,
    finish,
    lesion_lineage,
    probabilities_of,
    shown_of,
    table_of,
)
from kidney.training.lesion_predictions import spread
from kidney.training.lesion_run import (
    CrossValidated,
    LesionData,
    LesionSpec,
    class_labels,
    cross_validate_lesions,
    open_data,
    predict_fold,
    train_network,
)
from kidney.training.lesion_series import WholeSeries, whole_series
from kidney.training.lesion_targets import (
    artifact_row,
    class_rows,
    markdown_table,
    mask_rows,
    peak_rows,
    series_rows,
    source_rows,
    sources_table,
)
from kidney.training.lesions import LesionSettings
from kidney.training.spec import model_of

_VERIFIED = 48  # slices that the exported file is compared on


class Trained(NamedTuple):
    """What an export needs: see `kidney.export.build.build_artifact`."""

    checkpoint: Path
    evaluation: Path
    slices: list[NDArray[np.uint8]]
    labels: NDArray[np.int64]


def lesion_spec(cfg: DictConfig) -> LesionSpec:
    """Return the training that a configuration describes."""
    workspace = workspace_of(cfg)
    without = sorted(cfg.without)
    name = "-without-".join([cfg.name, *(["-".join(without)] if without else [])])
    return LesionSpec(
        folder=Path(cfg.folder),
        sources=[_source(str(name), values) for name, values in cfg.sources.items()],
        cache=workspace.cache,
        run=workspace.runs / name,
        backbone=cfg.model.backbone,
        weights=cfg.model.weights,
        weights_identity=weights_identity(cfg.model.backbone, cfg.model.weights),
        image_size=cfg.model.image_size,
        decoder_width=cfg.model.decoder_width,
        classes=list(cfg.classes),
        slices=cfg.slices,
        folds=cfg.folds,
        processes=cfg.processes,
        training=LesionSettings(seed=cfg.seed, **cfg.training),
        without=without,
        seed=cfg.seed,
    )


def _source(name: str, values: DictConfig) -> Source:
    plain: dict[str, Any] = OmegaConf.to_container(values, resolve=True)  # type: ignore[assignment]
    read = instantiate(values["read"], _partial_=True, _convert_="all")
    return Source(name=name, **{**plain, "read": read})


def train_lesions(cfg: DictConfig) -> Trained:
    """Cross-validate, train on all patients, and evaluate the folds.

    Raises:
        KidneyError: sources, weights or settings do not fit; the message says what to do.
    """
    spec, tracking = lesion_spec(cfg), tracking_of(cfg)
    data = open_data(spec)
    tested = cross_validate_lesions(spec, data)
    classifier = train_network(spec, data, None)
    own = predict_fold(spec, data, classifier, None)
    lineage = lesion_lineage(spec, data, own)
    checkpoint_path = spec.run / CHECKPOINT
    tags = {"kind": "training", "data": lineage.data.fingerprint, "git_commit": lineage.code}
    parameters = {name: cfg[name] for name in ("name", "slices", "folds", "seed")}
    with tracked_run(tracking, spec.run, tags, name=spec.run.name, parameters=parameters) as run_id:
        decisions = OmegaConf.to_container(cfg.decisions, resolve=True)
        series, _, _ = _whole_series(spec, tested)
        model = finish(
            spec, classifier, own, tested, lineage, run_id, series,
            cfg.series_sensitivity, decisions,  # type: ignore[arg-type]
        )  # fmt: skip
        save_checkpoint(model, checkpoint_path)
        folder = workspace_of(cfg).evaluation(SPLIT)
        result = evaluate(
            table_of(model, tested),
            model.hparams.classes,
            model={
                **model_of(model.lineage, model.hparams.backbone),
                "checkpoint": sha256(checkpoint_path),
            },
            data=asdict(model.lineage.data),
            split={**asdict(model.lineage.split), "fold": "all", "part": "test"},
            rules=asdict(model.rules),
        )
        write_result(folder, result, table_of(model, tested))
        write_text(folder / SOURCES, sources_table(data.stores))
        log_result(tracking, run_id, {}, [checkpoint_path, *(folder / name for name in FILES)])
    print_figures(result, folder / "report.html")
    return Trained(checkpoint_path, folder / "metrics.json", *_labelled_slices(spec, data))


def train_without(cfg: DictConfig) -> str:
    """Train without the sources that `without` names, and return how it does on them."""
    spec = lesion_spec(cfg)
    data = open_data(spec)
    predictions = predict_fold(spec, data, train_network(spec, data, None), None)
    left_out = np.isin(predictions.sources, spec.without)
    nothing = np.zeros(left_out.sum(), np.bool_)
    rows = [*source_rows(predictions), *mask_rows(predictions.of(left_out), nothing)]
    return markdown_table(rows)


def targets_stage(cfg: DictConfig) -> str:
    """Return the table of targets of a finished training, and write it beside its evaluation.

    Raises:
        ArtifactError: the training is not finished.
    """
    spec = lesion_spec(cfg)
    checkpoint_path = spec.run / CHECKPOINT
    if not checkpoint_path.is_file():
        raise ArtifactError(
            f"Expected a finished training at {spec.run}, but there is no {CHECKPOINT}.",
            "Train it first: python scripts/train_lesions.py with the same arguments.",
        )
    model, data = load_checkpoint(checkpoint_path), open_data(spec)
    tested = cross_validate_lesions(spec, data)
    probabilities = probabilities_of(model, tested)
    labels = class_labels(tested.predictions, spec.classes)
    chosen = labels >= 0
    suspected = probabilities[:, spec.classes.index("tumor")] >= model.rules.suspect_from["tumor"]
    rows = class_rows(
        probabilities[chosen], labels[chosen], tested.predictions.patients[chosen],
        tested.ood_scores[chosen], model.rules, spec.classes,
    )  # fmt: skip
    rows += mask_rows(tested.predictions, suspected)
    series, marks, reports = _whole_series(spec, tested)
    if series:
        shown = shown_of(model.model, tested)  # type: ignore[arg-type]
        rows += series_rows(series, shown, model.rules, reports)
        rows += peak_rows(tested.predictions, marks)
    rows += artifact_row(Path(cfg.artifacts) / "kidney.onnx")
    text = markdown_table(sorted(rows, key=lambda row: row.target))
    write_text(workspace_of(cfg).evaluation(SPLIT) / TARGETS, text)
    return text


def _whole_series(spec: LesionSpec, tested: CrossValidated) -> tuple[list[WholeSeries], Any, Any]:
    """Return the series of the sources whose reader has an annotation, this and the reports."""
    found: list[WholeSeries] = []
    marks, reports = [], []
    for source in spec.sources:
        annotation = getattr(source.read, "keywords", {}).get("annotation")
        if annotation is None or source.name not in tested.predictions.sources:
            continue
        paths = [
            path
            for name in source.files["slices"]
            for path in spec.cache.glob(f"unpacked/{name}-*/**/patients.csv")
        ]
        marks.append(pd.read_csv(Path(__file__).parents[2] / annotation, dtype={"patient": str}))
        reports += [pd.read_csv(path, dtype={"patient": str}) for path in paths]
        found += whole_series(
            tested.predictions, source.name, marks[-1], pd.concat(reports, ignore_index=True)
        )
    if not found:
        return [], None, None
    return found, pd.concat(marks), pd.concat(reports).drop_duplicates("patient")


def _labelled_slices(
    spec: LesionSpec, data: LesionData
) -> tuple[list[NDArray[np.uint8]], NDArray[np.int64]]:
    """Return slices with a class label, spread over all of them, and their class indices."""
    labelled = [
        (store.source.name, record.path, record.patient)
        for store in data.stores
        for record in store.records
        if record.label in spec.classes
    ]
    wanted = [labelled[at] for at in spread(len(labelled), _VERIFIED)]
    names, patients = {one[:2] for one in wanted}, {one[2] for one in wanted}
    found = [
        (shown(one), spec.classes.index(one.record.label))
        for source in data.sources
        for one in source.slices(spec.folder, spec.cache, lambda patient: patient in patients)
        if (source.name, one.record.path) in names
    ]
    return [pixels for pixels, _ in found], np.array([label for _, label in found], np.int64)
