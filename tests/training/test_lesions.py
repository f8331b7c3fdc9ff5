from pathlib import Path

import numpy as np
import pytest
import torch

from kidney.data.lesions.dataset import LesionDataset
from kidney.errors import DataError
from kidney.models.lesion_net import LesionNet
from kidney.training.lesion_bank import SHARD, Bank, fill_bank, open_bank
from kidney.training.lesions import RESUME, LesionSettings, fit_lesions, lesion_loss
from kidney.training.slice_heads import fit_class_head, fit_findings, patient_weights
from tests.helpers.lesion_sources import stores
from tests.helpers.lesion_training import some_weights

SETTINGS = LesionSettings(steps=6, batch_size=4, save_every=2)


def network() -> LesionNet:
    torch.manual_seed(0)
    return LesionNet("tf_efficientnet_lite0", "none", 8).eval()


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("bank")
    dataset = LesionDataset(stores(folder), 64, folds=2)
    return fill_bank(dataset, network().encoder, folder / "bank", 2 * SHARD, 0, processes=1)


@pytest.fixture(scope="module")
def bank(shards: list[Path]) -> Bank:
    return open_bank(shards, None, 0)


def test_a_bank_goes_on_where_it_was(shards: list[Path], tmp_path: Path):
    dataset = LesionDataset(stores(tmp_path), 64, folds=2)
    again = fill_bank(dataset, network().encoder, tmp_path / "bank", SHARD, 0, processes=1)
    assert again[0].read_bytes() == shards[0].read_bytes()
    written = again[0].stat().st_mtime_ns
    fill_bank(dataset, network().encoder, tmp_path / "bank", SHARD, 0, processes=1)
    assert again[0].stat().st_mtime_ns == written


def test_a_fold_and_a_source_that_are_left_out_are_in_no_row(shards: list[Path]):
    whole = open_bank(shards, None, 0)
    for fold in (0, 1):
        rest = open_bank(shards, fold, 0)
        assert 0 < len(rest) < len(whole)
        for shard, row in rest.rows:
            assert not rest.shards[shard]["folds"][row] >> fold & 1
    without_kits = open_bank(shards, None, 1)
    assert 0 < len(without_kits) < len(whole)
    assert all(without_kits.shards[shard]["sources"][row] == 2 for shard, row in without_kits.rows)


def test_targets_survive_the_bank(bank: Bank):
    batch = bank.batch(np.arange(8))
    assert batch["trunk 0"].shape == (8, 1, 64, 64)  # nothing is frozen: the slices themselves
    assert 0 <= batch["target"].min() <= batch["target"].max() <= 1
    assert set(batch["known"].unique().tolist()) <= {0.0, 1.0}


def test_a_bank_keeps_the_maps_of_a_frozen_trunk(tmp_path: Path):
    net = LesionNet("tf_efficientnet_lite0", some_weights(tmp_path), 8).eval()
    dataset = LesionDataset(stores(tmp_path), 64, folds=2)
    shards = fill_bank(dataset, net.encoder, tmp_path / "bank", SHARD, 0, processes=1)
    frozen = open_bank(shards, None, 0)
    batch = frozen.batch(np.arange(8))
    assert batch["trunk 0"].shape == (8, 24, 16, 16)
    assert batch["trunk 1"].shape == (8, 40, 8, 8)
    before = net.encoder.blocks[3][0].conv_pw.weight.clone()
    fit_lesions(net, frozen, LesionSettings(steps=2, batch_size=4), tmp_path)
    assert not torch.equal(before, net.encoder.blocks[3][0].conv_pw.weight)


def test_a_training_that_was_stopped_ends_like_one_that_was_not(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole, stopped = network(), network()
    fit_lesions(whole, bank, SETTINGS, tmp_path / "whole")
    original = Bank.batch
    calls = []

    def stop(self: Bank, chosen: np.ndarray) -> dict[str, torch.Tensor]:
        calls.append(len(chosen))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return original(self, chosen)

    monkeypatch.setattr(Bank, "batch", stop)
    with pytest.raises(KeyboardInterrupt):
        fit_lesions(stopped, bank, SETTINGS, tmp_path / "stopped")
    monkeypatch.undo()
    assert (tmp_path / "stopped" / RESUME).is_file()
    resumed = network()
    fit_lesions(resumed, bank, SETTINGS, tmp_path / "stopped")
    assert not (tmp_path / "stopped" / RESUME).exists()
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_training_learns(bank: Bank, tmp_path: Path):
    net = network()
    batch = bank.batch(np.arange(32))

    def loss() -> float:
        with torch.inference_mode():
            logits = net(batch["trunk 0"])
            return float(lesion_loss(logits, batch["target"], batch["known"], batch["present"])[0])

    before = loss()
    fit_lesions(net, bank, LesionSettings(steps=40, batch_size=8, learning_rate=1e-2), tmp_path)
    assert loss() < 0.9 * before


def test_too_few_slices_for_a_batch_are_an_error(bank: Bank, tmp_path: Path):
    with pytest.raises(DataError, match="at least a batch of 500"):
        fit_lesions(network(), bank, LesionSettings(batch_size=500), tmp_path)


def test_what_is_not_known_has_no_loss():
    torch.manual_seed(0)
    logits = torch.randn(2, 4, 12, 12, requires_grad=True)
    target = torch.rand(2, 4, 12, 12)
    known = torch.zeros(2, 4, 12, 12)
    known[:, :, :4] = 1
    lesion_loss(logits, target, known, torch.zeros(2, 4))[0].backward()
    assert logits.grad is not None
    assert (logits.grad[:, :, 4:] == 0).all()
    assert (logits.grad[:, :, :4] != 0).any()


def test_a_label_lifts_the_best_places_of_its_map():
    logits = torch.zeros(1, 4, 12, 12)
    logits[:, 0] = 4.0
    logits[0, 1, 5, 5] = 3.0
    logits.requires_grad_()
    nothing = torch.zeros(1, 4, 12, 12)
    present = torch.tensor([[0.0, 1.0, 0.0, 0.0]])
    loss, parts = lesion_loss(logits, nothing, nothing, present)
    loss.backward()
    assert logits.grad is not None
    assert "weak tumor" in parts
    assert "weak cyst" not in parts
    assert logits.grad[0, 1, 5, 5] < 0
    assert (logits.grad[0, [0, 2, 3]] == 0).all()


def test_a_head_finds_classes_and_divides_the_prior_out():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [300, 30])
    patients = np.array([f"{label}-{n // 3}" for n, label in enumerate(labels)])
    embeddings = rng.normal(size=(330, 9)) + labels[:, None] * 2.0
    head = fit_class_head(embeddings, labels, patients, (3, 4), ("normal", "tumor"))
    logits = head(embeddings)
    recalls = [(logits.argmax(axis=1) == labels)[labels == k].mean() for k in (0, 1)]
    assert min(recalls) > 0.9
    assert abs(recalls[0] - recalls[1]) < 0.1


def test_a_class_without_slices_is_an_error():
    with pytest.raises(DataError, match="none of stone"):
        fit_class_head(
            np.zeros((4, 3)), np.array([0, 0, 1, 1]), np.array(list("abcd")), (3,),
            ("normal", "cyst", "stone"),
        )  # fmt: skip


def test_findings_are_calibrated_at_even_odds_where_they_are_known():
    rng = np.random.default_rng(0)
    truth = np.full((400, 3), np.nan)
    truth[:, 0] = np.arange(400) % 10 == 0
    values = rng.normal(size=(400, 3)) + 6 * np.nan_to_num(truth)
    fitted = fit_findings(values, truth, np.arange(400).astype(str))
    middle = -fitted[0, 1] / fitted[0, 0]  # where the probability is a half
    assert middle == pytest.approx(3.0, abs=0.7)
    assert fitted[1].tolist() == [1.0, 0.0]


def test_patients_weigh_alike():
    weights = patient_weights(np.array(["a", "a", "a", "b"]))
    assert weights[:3].sum() == pytest.approx(weights[3])
    assert weights.mean() == pytest.approx(1)
