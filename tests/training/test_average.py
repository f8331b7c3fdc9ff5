import copy

import torch

from kidney.models.classifier import KidneyClassifier
from kidney.training.ensemble import average
from tests.helpers.small_network import random_slices, small_task


def fits(count: int) -> list[KidneyClassifier]:
    """Classifiers on one backbone that differ in norm and head, as heads on a frozen backbone."""
    generator = torch.Generator().manual_seed(0)
    made = []
    for _ in range(count):
        fit = copy.deepcopy(small_task().classifier.eval())
        with torch.no_grad():
            for value in (fit.head.weight, fit.head.bias, fit.centre):
                value.add_(torch.randn(value.shape, generator=generator))
            assert fit.norm.running_var is not None
            fit.norm.running_var.mul_(0.5 + torch.rand(fit.centre.shape, generator=generator))
        made.append(fit)
    return made


def test_the_average_of_heads_predicts_the_mean_of_their_logits():
    three, slices = fits(3), random_slices(4, 70, 50)
    with torch.inference_mode():
        expected = torch.stack([fit(slices).logits for fit in three]).mean(dim=0)
        answer = average(three)(slices)
    torch.testing.assert_close(answer.logits, expected, atol=1e-4, rtol=1e-4)


def test_the_evidence_of_the_average_still_adds_up():
    whole = average(fits(3))
    with torch.inference_mode():
        answer = whole(random_slices(2))
    explained = answer.evidence.mean(dim=(2, 3)) + whole.head.bias
    torch.testing.assert_close(explained, answer.logits, atol=1e-4, rtol=1e-4)


def test_one_alone_stays_what_it_is():
    (only,) = fits(1)
    slices = random_slices(3)
    with torch.inference_mode():
        torch.testing.assert_close(average([only])(slices).logits, only(slices).logits)


def test_the_fits_are_left_alone():
    two = fits(2)
    before = [copy.deepcopy(fit.state_dict()) for fit in two]
    average(two)
    for fit, kept in zip(two, before, strict=True):
        for name, value in fit.state_dict().items():
            torch.testing.assert_close(value, kept[name], equal_nan=True)
