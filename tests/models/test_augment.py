import pytest
import torch
from torch.nn.functional import avg_pool2d

from kidney.models.augment import augment
from tests.helpers.small_network import random_slices

BODY = 110.0
MANY = 64


def body_with_a_spot(grey: float) -> torch.Tensor:
    """Float (MANY, 1, 64, 64): a spot of 8 x 8 pixels a little off the middle of an even body."""
    slices = torch.full((MANY, 1, 64, 64), BODY)
    slices[..., 28:36, 36:44] = grey
    return slices


def middle(slices: torch.Tensor) -> torch.Tensor:
    """The part that no augmentation may move out of sight, noise averaged away."""
    return avg_pool2d(slices, 5, stride=1)[..., 12:-12, 12:-12]


def test_shape_type_and_range_stay():
    slices = random_slices(8, 48, 48).float()
    changed = augment(slices)
    assert changed.shape == slices.shape
    assert changed.dtype == torch.float32
    assert torch.isfinite(changed).all()
    assert changed.min() >= 0
    assert changed.max() <= 255


def test_the_batch_that_came_in_is_left_alone():
    slices = random_slices(4).float()
    before = slices.clone()
    augment(slices)
    assert torch.equal(slices, before)


def test_the_same_seed_gives_the_same_draws_and_another_does_not():
    slices = random_slices(4).float()
    torch.manual_seed(1)
    first = augment(slices)
    torch.manual_seed(1)
    again = augment(slices)
    assert torch.equal(first, again)
    assert not torch.equal(first, augment(slices))


def test_each_slice_of_a_batch_is_drawn_on_its_own():
    changed = augment(body_with_a_spot(200.0))
    means = changed.mean(dim=(1, 2, 3))
    assert len(means.unique()) == MANY
    assert means.std() > 2


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_finding_appears_on_either_side(side: str):
    where = middle(augment(body_with_a_spot(255.0))).flatten(1).argmax(dim=1) % 36
    assert (where < 18 if side == "left" else where >= 18).float().mean() > 0.15


def test_a_stone_stays_bright_and_a_cyst_stays_dark():
    bright = middle(augment(body_with_a_spot(220.0)))
    dark = middle(augment(body_with_a_spot(30.0)))
    assert (bright.amax(dim=(1, 2, 3)) - bright.flatten(1).median(dim=1).values).min() > 50
    assert (dark.flatten(1).median(dim=1).values - dark.amin(dim=(1, 2, 3))).min() > 40


def test_the_grey_of_tissue_moves_by_no_more_than_another_windowing_would():
    tissue = middle(augment(body_with_a_spot(BODY))).flatten(1).median(dim=1).values
    assert (tissue - BODY).abs().max() < 70
