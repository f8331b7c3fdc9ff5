"""How sure is the model? Settled on slices that the fit which answers them has not seen."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from omegaconf import DictConfig, OmegaConf

from kidney.evaluation.metrics.calibration import (
    adjusted_bias,
    balanced_weights,
    class_prior,
    fit_temperature,
)
from kidney.evaluation.metrics.classification import figures, group_weights
from kidney.evaluation.metrics.decisions import fit_rules
from kidney.models.classifier import KidneyClassifier
from kidney.pipeline.result_files import predictions_of
from kidney.training.fit import with_features
from kidney.training.ood_fit import fit_ood
from kidney.training.predict import predict


class Settled(NamedTuple):
    """What is known of a model before it meets its test part.

    Attributes:
        rules: the fields of its Rules.
        validation: a row a validation slice, as predictions.csv has it.
        macro_auroc: of these slices; settings are chosen by it.
    """

    rules: dict[str, Any]
    validation: pd.DataFrame
    macro_auroc: float


def settle(
    cfg: DictConfig,
    whole: KidneyClassifier,
    members: Mapping[int, KidneyClassifier],
    lineage: dict[str, Any],
) -> Settled:
    """Set prior, temperature and out-of-distribution score of `whole`, and fit the decision rules.

    The class prior of the training part is divided out of the probabilities: see `adjusted_bias`.

    Args:
        cfg: the whole configuration; `decisions` says what is asked of the rules.
        whole: the model; its temperature and the bias of its head are set.
        members: validation fold -> the fit that has not seen it.
        lineage: of the training.
    """
    tables, found = [], []
    for fold, member in members.items():
        member_cfg = OmegaConf.merge(cfg, {"split": {"validation_fold": fold}})
        assert isinstance(member_cfg, DictConfig)
        data = with_features(member_cfg, lineage)
        fit_ood(member, data, data.rows("train"))
        tables.append(data.slices.iloc[data.rows("val")])
        found.append(predict(member, data.val_dataloader()))
    several = len(members) > 1
    fit_ood(whole, data, data.rows("train", "val") if several else data.rows("train"))
    slices = pd.concat(tables)
    all_logits = np.concatenate([raw.logits for raw in found])
    scores = np.concatenate([raw.ood_scores for raw in found])
    classes = list(cfg.data.classes)
    labels = slices["label"].map(classes.index).to_numpy(np.int64)
    # Patients and not scans, since a new scan is that of a new patient.
    patients = slices["patient"].to_numpy().astype(np.str_)
    weights = group_weights(patients)
    trained = data.slices.iloc[data.rows("train", "val") if several else data.rows("train")]
    prior = class_prior(
        trained["label"].map(classes.index).to_numpy(np.int64),
        group_weights(trained["scan"].to_numpy().astype(np.str_)),  # as the sampler draws them
        len(classes),
    )
    temperature = fit_temperature(all_logits, labels, balanced_weights(labels, weights), prior)
    shift = adjusted_bias(np.zeros(len(classes)), prior, temperature).astype(np.float32)
    whole.head.bias.data += torch.from_numpy(shift).to(whole.head.bias.device)
    whole.temperature.fill_(temperature)
    all_logits = all_logits + shift
    probabilities = torch.from_numpy(all_logits / temperature).softmax(dim=1).numpy()
    rules = fit_rules(labels, probabilities, patients, scores, classes, **cfg.decisions)
    said = predictions_of(slices, classes, probabilities, all_logits, rules, scores)
    area = figures(labels, probabilities, classes)["macro_auroc"]
    return Settled(asdict(rules), said, 0.0 if np.isnan(area) else area)
