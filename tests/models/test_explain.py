"""The evidence of one slice; Grad-CAM, against the reference library and the exact evidence."""

import numpy as np
import pytest
import torch

from kidney.models.classifier import KidneyClassifier
from kidney.models.explain import explain, grad_cam
from kidney.models.prepare import body_region
from tests.helpers.small_network import BACKBONE, CLASSES, IMAGE_SIZE, random_slices, small_task


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
