from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import nn

from kidney.models.classifier import KidneyClassifier, explain, grad_cam
from kidney.models.prepare import body_region, prepare
from tests.helpers.small_network import BACKBONE, CLASSES, IMAGE_SIZE, random_slices, small_task

NETWORKS = {  # backbone: image size
    "resnet10t": 64,
    "tf_efficientnet_lite0": 64,
    "vit_small_patch14_dinov2": 70,
    "vit_tiny_patch16_224": 64,
    "swin_tiny_patch4_window7_224": 64,  # hands out (B, h, w, C)
}


def classifier_of(
    backbone: str, image_size: int, stages: Sequence[int] = (-1,)
) -> KidneyClassifier:
    torch.manual_seed(0)
    classifier = KidneyClassifier(backbone, "none", image_size, stages, 0.0, len(CLASSES)).eval()
    with torch.no_grad():
        classifier.head.bias.copy_(torch.tensor([-1.0, 0.5, 2.0, 0.0]))
    return classifier


@pytest.fixture(scope="module")
def classifier() -> KidneyClassifier:
    return classifier_of(BACKBONE, IMAGE_SIZE)


@pytest.mark.parametrize(("backbone", "image_size"), NETWORKS.items())
def test_the_logit_is_the_mean_of_its_evidence_plus_the_bias(backbone: str, image_size: int):
    classifier = classifier_of(backbone, image_size)
    slices = random_slices(3, 50, 70)
    with torch.inference_mode():
        answer = classifier(slices)
        # What training optimises is written without any map.
        trained = classifier.forward_head(classifier.embed(prepare(slices, image_size)))
    explained = answer.evidence.mean(dim=(2, 3)) + classifier.head.bias
    scale = answer.logits.abs().max().clamp(min=1)
    assert answer.logits.std() > 0
    torch.testing.assert_close(explained / scale, answer.logits / scale, atol=1e-4, rtol=0)
    torch.testing.assert_close(trained / scale, answer.logits / scale, atol=1e-4, rtol=0)
    torch.testing.assert_close(answer.probabilities.sum(dim=1), torch.ones(3))


def test_the_evidence_of_two_stages_and_located_kidneys_adds_up_too():
    classifier = classifier_of(BACKBONE, IMAGE_SIZE, stages=(3, 4))
    with torch.no_grad():
        classifier.locator.look.weight.normal_()
        classifier.centre.normal_()
    slices = random_slices(3, 50, 70)
    with torch.inference_mode():
        answer = classifier(slices)
        images = prepare(slices, IMAGE_SIZE)
        trained = classifier.forward_head(classifier.forward_tail(classifier.forward_trunk(images)))
        weights = classifier.locator(classifier.trunk_maps(images))
    assert weights.std() > 0.1
    explained = answer.evidence.mean(dim=(2, 3)) + classifier.head.bias
    torch.testing.assert_close(explained, answer.logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(trained, answer.logits, atol=1e-4, rtol=1e-4)
    # A place without weight speaks for nothing.
    share = answer.evidence.abs().sum(dim=1, keepdim=True) / weights
    assert share.max() < 1e3 * share.median()


@pytest.mark.parametrize(
    ("backbone", "image_size"),
    [("vit_tiny_patch16_224", 64), ("swin_tiny_patch4_window7_224", 128)],
)
def test_evidence_lies_where_the_slice_was_changed(backbone: str, image_size: int):
    classifier = classifier_of(backbone, image_size)
    plain = torch.full((1, 1, image_size, image_size), 100, dtype=torch.uint8)
    changed = plain.clone()
    half = image_size // 2
    changed[..., :half, half:] = random_slices(1, half, half)  # top right
    with torch.inference_mode():
        moved = (classifier(changed).evidence - classifier(plain).evidence)[0].abs().sum(dim=0)
    rows, columns = (side // 2 for side in moved.shape)
    top, bottom = moved[:rows], moved[rows:]
    quarters = [top[:, :columns], top[:, columns:], bottom[:, :columns], bottom[:, columns:]]
    assert max(quarters, key=torch.sum) is quarters[1]


class Logits(nn.Module):
    """The classifier as the library knows networks: pictures in, one tensor of scores out."""

    def __init__(self, classifier: KidneyClassifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, slices: torch.Tensor) -> torch.Tensor:
        return self.classifier(slices).logits


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["resnet10t", "swin_tiny_patch4_window7_224"])
def test_the_evidence_map_is_what_another_library_calls_grad_cam(backbone: str):
    from pytorch_grad_cam import GradCAM  # of the extra `slow`
    from pytorch_grad_cam.utils.image import scale_cam_image
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    classifier = classifier_of(backbone, 128)
    slices = random_slices(1, 128, 128).float()
    with torch.inference_mode():
        maps = classifier(slices).evidence[0].numpy()
    with GradCAM(Logits(classifier), target_layers=[classifier.backbone]) as library:
        for label, evidence in enumerate(maps):
            target = [ClassifierOutputTarget(label)]
            picture = library(slices, target)[0]
            seen = library.activations_and_grads
            weighted = library.get_cam_image(
                slices, classifier.backbone, target,
                seen.activations[0].numpy(), seen.gradients[0].numpy(), False,
            )[0]  # fmt: skip
            # The gradient of a mean over h * w places is 1 / (h * w) of the weight.
            np.testing.assert_allclose(weighted * evidence.size, evidence, rtol=1e-3, atol=1e-5)
            # What it shows to people is scaled to 0..1, enlarged and scaled again.
            positive = np.maximum(evidence, 0)[None]
            shown = scale_cam_image(scale_cam_image(positive, (128, 128)))[0]
            np.testing.assert_allclose(picture, shown, atol=1e-3)


@pytest.mark.parametrize("shape", [(1, 33, 47), (2, 64, 64), (5, 200, 31), (1, 512, 512)])
def test_slices_of_any_number_and_size_are_answered(
    classifier: KidneyClassifier, shape: tuple[int, int, int]
):
    with torch.inference_mode():
        answer = classifier(random_slices(*shape))
    assert answer.probabilities.shape == answer.logits.shape == (shape[0], len(CLASSES))
    assert answer.evidence.shape[:2] == (shape[0], len(CLASSES))
    assert torch.isfinite(answer.logits).all()


def test_an_answer_does_not_depend_on_the_other_slices_of_its_batch(classifier: KidneyClassifier):
    slices = random_slices(4, 80, 60)
    with torch.inference_mode():
        together = classifier(slices).logits
        alone = torch.cat([classifier(slices[row : row + 1]).logits for row in range(4)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_the_temperature_divides_the_logits_and_nothing_else():
    classifier = classifier_of(BACKBONE, IMAGE_SIZE)
    slices = random_slices(2)
    with torch.inference_mode():
        plain = classifier(slices)
        classifier.temperature.fill_(2.5)
        cooler = classifier(slices)
    assert torch.equal(cooler.logits, plain.logits)
    assert torch.equal(cooler.evidence, plain.evidence)
    torch.testing.assert_close(cooler.probabilities, torch.softmax(plain.logits / 2.5, dim=1))
    assert not torch.allclose(cooler.probabilities, plain.probabilities)


class _Logits(torch.nn.Module):
    def __init__(self, classifier):
        super().__init__()
        self.classifier = classifier

    def forward(self, slices):
        return self.classifier(slices).logits


def _classifier(stages=(-1,)):
    torch.manual_seed(3)
    classifier = KidneyClassifier(BACKBONE, "none", IMAGE_SIZE, stages, 0.0, len(CLASSES)).eval()
    torch.nn.init.normal_(classifier.head.weight)
    return classifier


@pytest.mark.slow
def test_it_agrees_with_the_library():
    import cv2  # these are of the extra `slow`
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    classifier, slices = _classifier(), random_slices(3, 96, 80)
    targets = torch.tensor([2, 0, 3])
    ours = grad_cam(classifier, slices, targets).numpy()
    wrapped = _Logits(classifier)
    with GradCAM(model=wrapped, target_layers=[classifier.backbone]) as cam:
        theirs = cam(slices.float(), [ClassifierOutputTarget(int(target)) for target in targets])
    assert theirs.shape == (3, 96, 80)
    for mine, reference in zip(ours, theirs, strict=True):
        scaled = (mine - mine.min()) / (1e-7 + (mine - mine.min()).max())  # as the library does
        assert np.allclose(cv2.resize(scaled, (80, 96)), reference, atol=1e-4)


def test_it_is_the_positive_part_of_the_evidence_up_to_a_constant():
    classifier, slices = _classifier(), random_slices(2)
    classifier.norm.running_mean.zero_()  # Grad-CAM knows no average place to measure from
    targets = torch.tensor([1, 2])
    with torch.inference_mode():
        evidence = classifier(slices).evidence
    chosen = torch.stack([evidence[0, 1], evidence[1, 2]]).clamp(min=0)
    ours = grad_cam(classifier, slices, targets)
    places = ours.shape[1] * ours.shape[2]
    assert torch.allclose(ours * places, chosen, atol=1e-4)


def test_where_the_locator_looks_is_lost_on_it():
    classifier, slices = _classifier(stages=(2, 3)), random_slices(2)
    targets = torch.tensor([1, 2])
    before = grad_cam(classifier, slices, targets)
    torch.nn.init.normal_(classifier.locator.look.weight, std=0.1)
    assert torch.allclose(grad_cam(classifier, slices, targets), before, rtol=1e-3, atol=1e-6)


def test_it_leaves_the_classifier_as_it_was():
    classifier, slices = _classifier(), random_slices(1)
    before = classifier(slices).logits
    grad_cam(classifier, slices, torch.tensor([0]))
    assert all(value.grad is None for value in classifier.parameters())
    assert torch.equal(classifier(slices).logits, before)


def test_evidence_and_region_are_those_of_the_answer_to_this_slice():
    classifier = small_task().classifier
    slices = random_slices(1, height=90, width=70)
    evidence, region = explain(classifier, slices[0, 0].numpy())
    assert len(evidence) == len(CLASSES)
    with torch.inference_mode():
        answer = classifier.eval()(slices)
    np.testing.assert_allclose(evidence, answer.evidence[0].numpy(), atol=1e-6)
    np.testing.assert_allclose(region, body_region(slices)[0].tolist(), atol=1e-4)
