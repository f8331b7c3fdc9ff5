import numpy as np
import pytest
import torch

from kidney.data.lesions.records import SourceSlice
from kidney.data.lesions.store import shown
from kidney.errors import ConfigError
from kidney.training.lesion_predictions import load_predictions, spread
from kidney.training.lesion_run import (
    NETWORK,
    PREDICTIONS,
    CrossValidated,
    LesionData,
    LesionSpec,
    class_labels,
    cross_validate_lesions,
    findings_calibration,
    fit_heads,
    open_data,
    predict_fold,
    train_network,
)
from kidney.training.lesions import LesionSettings
from tests.helpers.lesion_training import small_spec


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> LesionSpec:
    return small_spec(tmp_path_factory.mktemp("lesions"))


@pytest.fixture(scope="module")
def data(spec: LesionSpec) -> LesionData:
    return open_data(spec)


@pytest.fixture(scope="module")
def tested(spec: LesionSpec, data: LesionData) -> CrossValidated:
    return cross_validate_lesions(spec, data)


def test_every_slice_is_tested_once(data: LesionData, tested: CrossValidated):
    found = [(one.source, one.path) for one in tested.predictions.records]
    expected = [(one.source, one.path) for store in data.stores for one in store.records]
    assert sorted(found) == sorted(expected)
    assert tested.logits.shape == (len(found), 4)
    assert np.isfinite(tested.logits).all()


def test_no_network_has_seen_the_patients_that_it_is_tested_on(
    spec: LesionSpec, data: LesionData, tested: CrossValidated
):
    del tested
    fold_of = {patient: own for folds in data.dataset.fold_of for patient, own in folds.items()}
    for fold in range(spec.folds):
        predictions = load_predictions(spec.run / f"fold-{fold}" / PREDICTIONS)
        out = {one.patient for one in predictions.records if fold_of[one.patient] == fold}
        assert out == {patient for patient, own in fold_of.items() if own == fold}


def test_predictions_are_those_of_the_exported_graph(
    spec: LesionSpec, data: LesionData, tested: CrossValidated
):
    classifier = train_network(spec, data, 0)
    predictions = load_predictions(spec.run / "fold-0" / PREDICTIONS)
    slices: dict[tuple[str, str], SourceSlice] = {
        (one.record.source, one.record.path): one
        for source in data.sources
        for one in source.slices(spec.folder, spec.cache, lambda _: True)
    }
    for row in (0, len(predictions.records) - 1):
        record = predictions.records[row]
        pixels = torch.from_numpy(shown(slices[record.source, record.path]).copy())[None, None]
        with torch.inference_mode():
            found = classifier(pixels)
        assert found.lesions[0].numpy() == pytest.approx(
            predictions.lesions[row].astype(np.float32), abs=2e-2
        )
        assert found.region[0].numpy() == pytest.approx(predictions.regions[row])
    del tested


def test_the_truth_of_findings_follows_masks_and_labels(tested: CrossValidated):
    truth = tested.predictions.truth()
    for row, record in enumerate(tested.predictions.records):
        tumor, cyst, stone = truth[row]
        if record.source == "kits":
            assert tumor == float(record.pool == "tumor")
            assert np.isnan(cyst)  # drawn as kidney
            assert stone == 0
        else:
            expected = [float(record.label == name) for name in ("tumor", "cyst", "stone")]
            assert truth[row].tolist() == expected
    fitted = findings_calibration(tested.predictions)
    assert fitted.shape == (3, 2)
    assert (fitted[:, 0] >= 0).all()


def test_a_run_that_was_stopped_goes_on(spec: LesionSpec, data: LesionData, tested: CrossValidated):
    written = (spec.run / "fold-1" / NETWORK).stat().st_mtime_ns
    again = cross_validate_lesions(spec, data)
    assert (spec.run / "fold-1" / NETWORK).stat().st_mtime_ns == written
    assert again.logits == pytest.approx(tested.logits)


def test_the_final_network_gets_heads(spec: LesionSpec, data: LesionData, tested: CrossValidated):
    del tested
    classifier = train_network(spec, data, None)
    predictions = predict_fold(spec, data, classifier, None)
    fit_heads(classifier, predictions)
    labels = class_labels(predictions, spec.classes)
    assert set(labels.tolist()) == {-1, 0, 1, 2, 3}
    embeddings = torch.from_numpy(predictions.embeddings)
    assert torch.isfinite(classifier.forward_head(embeddings)).all()
    assert torch.isfinite(classifier.ood(embeddings)).all()


def test_other_settings_need_another_run(spec: LesionSpec, data: LesionData):
    train_network(spec, data, 0)
    other = small_spec(spec.folder, training=LesionSettings(steps=5, batch_size=8))
    with pytest.raises(ConfigError, match="with these settings"):
        train_network(other, data, 0)


def test_a_source_that_is_left_out_is_predicted_whole(spec: LesionSpec):
    left_out = small_spec(spec.folder, without=["kits"], run=spec.folder / "without")
    data = open_data(left_out)
    predictions = predict_fold(left_out, data, train_network(left_out, data, None), None)
    assert (predictions.sources == "kits").sum() == len(data.stores[0].records)


def test_an_unknown_source_cannot_be_left_out(spec: LesionSpec):
    with pytest.raises(ConfigError, match="no kauh"):
        open_data(small_spec(spec.folder, without=["kauh"]))


@pytest.mark.parametrize(
    ("count", "most", "expected"), [(5, 3, [0, 2, 4]), (2, 9, [0, 1]), (0, 3, [])]
)
def test_places_are_spread(count: int, most: int, expected: list[int]):
    assert spread(count, most).tolist() == expected
