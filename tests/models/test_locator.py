import pytest
import torch

from kidney.models.locator import Locator, fit_locator

CHANNELS = 6


def maps_with_a_place(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise (count, CHANNELS, 8, 8) that shines in two channels at a square, and the square."""
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn((count, CHANNELS, 8, 8), generator=generator)
    shares = torch.zeros((count, 8, 8))
    for number in range(count):
        top, left = torch.randint(0, 6, (2,), generator=generator).tolist()
        maps[number, 1:3, top : top + 3, left : left + 3] += 4
        shares[number, top : top + 3, left : left + 3] = 1
    return maps, shares


def test_until_it_is_fitted_all_places_weigh_one():
    maps, _ = maps_with_a_place(2, 0)
    torch.testing.assert_close(Locator(CHANNELS)(maps), torch.ones(2, 1, 8, 8))


def test_weights_have_a_mean_of_one_and_lie_where_the_masks_were():
    locator = Locator(CHANNELS)
    fit_locator(locator, *maps_with_a_place(40, 1))
    maps, shares = maps_with_a_place(20, 2)
    weights = locator(maps)[:, 0]
    torch.testing.assert_close(weights.mean(dim=(1, 2)), torch.ones(20))
    assert weights.min() >= 0
    peaks = weights.flatten(1).argmax(dim=1)
    assert shares.flatten(1)[torch.arange(20), peaks].mean() > 0.9
    inside = (weights * shares).sum() / weights.sum()
    assert inside > 0.6 > shares.mean()


def test_a_mirrored_slice_is_looked_at_in_the_mirror():
    locator = Locator(CHANNELS)
    fit_locator(locator, *maps_with_a_place(10, 3))
    maps, _ = maps_with_a_place(3, 4)
    torch.testing.assert_close(locator(maps.flip(3)), locator(maps).flip(3))


def test_it_does_not_learn_further():
    assert not any(value.requires_grad for value in Locator(CHANNELS).parameters())


def test_the_fit_comes_from_masks_and_not_from_places_alone():
    locator = Locator(CHANNELS)
    maps, shares = maps_with_a_place(40, 5)
    fit_locator(locator, maps, shares.roll(4, dims=0))  # masks of other slices
    maps, shares = maps_with_a_place(20, 6)
    weights = locator(maps)[:, 0]
    assert (weights * shares).sum() / weights.sum() == pytest.approx(float(shares.mean()), abs=0.1)
