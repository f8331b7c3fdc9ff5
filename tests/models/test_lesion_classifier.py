import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kidney.errors import ConfigError
from kidney.models.lesion_classifier import FLOOR, LESIONS, LesionClassifier, kidney_presence
from kidney.models.lesion_net import MAPS, TEST_BACKBONE, LesionNet, gated
from kidney.models.prepare import prepare
from tests.helpers.lesion_training import some_weights
from tests.helpers.small_network import random_slices

CLASSES = ("normal", "cyst", "tumor", "stone")
BACKBONE, SIZE, WIDTH = "tf_efficientnet_lite0", 64, 8


def lesion_classifier(classes: tuple[str, ...] = CLASSES, seed: int = 0) -> LesionClassifier:
    torch.manual_seed(seed)
    classifier = LesionClassifier(BACKBONE, "none", SIZE, WIDTH, classes).eval()
    torch.nn.init.normal_(classifier.net.head.weight, std=2.0)
    rng = np.random.default_rng(seed)
    head = rng.normal(0, 0.1, (len(classes), classifier.size)), rng.normal(size=len(classes))
    classifier.set_head(*head)
    classifier.ood.fit(rng.normal(size=(70, classifier.size + 8)), [str(n) for n in range(70)])
    return classifier


@pytest.fixture(scope="module")
def classifier() -> LesionClassifier:
    return lesion_classifier()


@pytest.mark.parametrize("shape", [(64, 64), (100, 77)])
def test_outputs_have_the_shapes_of_the_contract(
    classifier: LesionClassifier, shape: tuple[int, int]
):
    with torch.inference_mode():
        found = classifier(random_slices(3, *shape))
    assert {name: tuple(value.shape) for name, value in found._asdict().items()} == {
        "probabilities": (3, 4), "logits": (3, 4), "evidence": (3, 4, 16, 16), "ood_score": (3,),
        "region": (3, 4), "findings": (3, 3), "kidney": (3, 1, 16, 16), "lesions": (3, 3, 16, 16),
        "presence": (3,),
    }  # fmt: skip
    assert all(value.dtype == torch.float32 for value in found)
    assert all(torch.isfinite(value).all() for value in found)
    assert found.probabilities.sum(dim=1) == pytest.approx([1, 1, 1])
    assert found.lesions.min() >= FLOOR


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**16), scale=st.floats(0.01, 2.0))
def test_each_logit_is_the_mean_of_its_evidence_plus_the_bias(seed: int, scale: float):
    classifier = lesion_classifier()
    rng = np.random.default_rng(seed)
    weight = rng.normal(0, scale / 10, (4, classifier.size))
    bias = rng.normal(size=4)
    classifier.set_head(weight, bias)
    slices = random_slices(2, 80, 80)
    with torch.inference_mode():
        found = classifier(slices)
        embedding = classifier.embed(prepare(slices, SIZE))
    means = found.evidence.double().mean(dim=(2, 3)) + classifier.bias
    assert torch.allclose(means.float(), found.logits, rtol=1e-4, atol=1e-3)
    # The head as it was given, but for a number taken from all logits of a slice.
    raw = embedding[:, : classifier.size].double().numpy() @ weight.T + bias
    expected = torch.softmax(found.presence[:, None].double() * torch.from_numpy(raw), dim=1)
    assert torch.allclose(found.probabilities.double(), expected, atol=1e-4)


@pytest.mark.parametrize("name", LESIONS)
def test_the_evidence_of_a_lesion_peaks_where_its_map_does(classifier: LesionClassifier, name: str):
    with torch.inference_mode():
        found = classifier(random_slices(4, 90, 90))
    evidence = found.evidence[:, CLASSES.index(name)].flatten(1).argmax(dim=1)
    assert (evidence == found.lesions[:, LESIONS.index(name)].flatten(1).argmax(dim=1)).all()


def test_the_evidence_of_tumours_comes_from_their_map_alone(classifier: LesionClassifier):
    tumor = CLASSES.index("tumor")
    own = classifier.weight[tumor].clone()
    assert own[LESIONS.index("tumor")] == classifier.slopes[tumor] > 0
    own[LESIONS.index("tumor")] = 0
    assert own.abs().max() < 1e-6


def test_embeddings_and_head_give_what_the_graph_gives(classifier: LesionClassifier):
    slices = random_slices(3, 70, 90)
    with torch.inference_mode():
        embedding = classifier.embed(prepare(slices, SIZE))
        found = classifier(slices)
        logits = found.presence[:, None] * classifier.forward_head(embedding)
        torch.testing.assert_close(logits, found.logits, rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(classifier.ood(embedding), found.ood_score)
        torch.testing.assert_close(classifier.findings(embedding[:, :3]), found.findings)
    assert sum(classifier.blocks) == classifier.size == embedding.shape[1] - 8


def test_classes_without_a_map_and_other_orders_work():
    classifier = lesion_classifier(("tumor", "normal"))
    with torch.inference_mode():
        found = classifier(random_slices(2, 64, 64))
    means = found.evidence.mean(dim=(2, 3)) + classifier.bias
    torch.testing.assert_close(means, found.logits, rtol=1e-4, atol=1e-3)


def test_without_a_kidney_the_odds_are_even_and_the_decomposition_holds():
    classifier = lesion_classifier()
    with torch.inference_mode():
        for threshold, presence in ((-100.0, 1.0), (100.0, 0.0)):
            classifier.presence[1] = threshold
            found = classifier(random_slices(2, 64, 64))
            assert found.presence == pytest.approx([presence] * 2)
            means = found.evidence.mean(dim=(2, 3)) + classifier.bias
            torch.testing.assert_close(means, found.logits, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(found.probabilities, torch.full((2, 4), 0.25), rtol=0, atol=1e-4)


def test_presence_follows_the_best_places_of_the_finder():
    kidney = torch.full((2, 64, 64), -9.0)
    kidney[0, 0, :8] = 3.0
    found = kidney_presence(kidney, torch.tensor([2.0, 3.0]))
    assert found.tolist() == pytest.approx([0.5, 0.0], abs=1e-6)


def test_the_gate_lowers_lesions_outside_of_kidneys():
    logits = torch.tensor([10.0, -10.0])[:, None, None, None].expand(2, len(MAPS), 1, 1).clone()
    logits[:, 1:] = 3.0
    inside, outside = gated(logits)[:, 0, 0, 0].tolist()
    assert inside == pytest.approx(3.0, abs=1e-3)
    assert outside == pytest.approx(-6.0, abs=1e-3)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return some_weights(tmp_path_factory.mktemp("weights"))


def changed_by_a_step(net: LesionNet) -> set[str]:
    """Return what a training step changes of the encoder."""
    net.train()
    before = {name: value.clone() for name, value in net.encoder.state_dict().items()}
    net(torch.rand(2, 1, 64, 64) * 255).sum().backward()
    torch.optim.SGD([p for p in net.parameters() if p.requires_grad], 1.0).step()
    after = net.encoder.state_dict()
    return {name for name, value in after.items() if not torch.equal(value, before[name])}


def test_first_stages_stay_frozen_and_norms_keep_their_statistics(weights: str):
    changed = changed_by_a_step(LesionNet(BACKBONE, weights, WIDTH))
    assert changed
    assert all(
        name.startswith(("blocks.3", "blocks.4", "blocks.5", "blocks.6")) for name in changed
    )
    assert not any("running" in name for name in changed)


@pytest.mark.parametrize("backbone", [BACKBONE, TEST_BACKBONE])
def test_from_random_weights_the_whole_encoder_is_trained(backbone: str):
    changed = changed_by_a_step(LesionNet(backbone, "none", WIDTH))
    assert {"stem.0.weight", "stem.1.running_mean"} <= changed
    assert any(name.startswith("blocks.0.") for name in changed)


def test_trunk_and_tail_are_the_whole_encoder(weights: str):
    net = LesionNet(BACKBONE, weights, WIDTH).eval()
    images = torch.rand(2, 1, 64, 64) * 255
    with torch.inference_mode():
        parts = net.forward_tail(*net.encoder.forward_trunk(images))
        torch.testing.assert_close(net.forward_head(parts.decoded), net(images))
    assert [tuple(stage.shape[1:]) for stage in parts.stages] == [
        (24, 16, 16), (40, 8, 8), (112, 4, 4), (320, 2, 2)
    ]  # fmt: skip


def test_another_kind_of_backbone_is_refused():
    with pytest.raises(ConfigError, match="EfficientNet-Lite"):
        LesionNet("resnet10t", "none", WIDTH)
