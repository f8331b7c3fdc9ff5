import numpy as np
import pytest
import torch
from torch.nn import functional as nnf

from kidney.data.phantom.scan import generate_scan
from kidney.imaging.windows import Window, to_grey
from kidney.models.prepare import body_region, cut_out, prepare
from tests.helpers.small_network import random_slices


def body(height: int, width: int, top: int, left: int, side: int, grey: int = 110) -> torch.Tensor:
    """uint8 (1, 1, height, width): a square body on air."""
    slice_ = torch.zeros((1, 1, height, width), dtype=torch.uint8)
    slice_[..., top : top + side, left : left + side] = grey
    return slice_


@pytest.mark.parametrize("shape", [(96, 64), (64, 200), (512, 512)])
def test_a_region_that_is_the_picture_gives_torchs_antialiased_resize(shape: tuple[int, int]):
    slices = random_slices(2, *shape)
    region = torch.tensor([[0.0, 0.0, *map(float, shape)]]).expand(2, -1)
    expected = nnf.interpolate(
        slices.float(), size=(48, 48), mode="bilinear", align_corners=False, antialias=True
    )
    torch.testing.assert_close(cut_out(slices, region, 48), expected, atol=1e-3, rtol=0)


def test_a_region_of_the_models_own_size_passes_unchanged():
    slices = random_slices(1, 96, 96)
    region = torch.tensor([[16.0, 8.0, 80.0, 72.0]])
    torch.testing.assert_close(cut_out(slices, region, 64)[0, 0], slices[0, 0, 16:80, 8:72].float())


def test_what_lies_beyond_the_picture_is_black():
    slices = torch.full((1, 1, 40, 40), 200, dtype=torch.uint8)
    image = cut_out(slices, torch.tensor([[-40.0, 0.0, 40.0, 80.0]]), 32)
    assert (image[..., :16, :] == 0).all()
    assert (image[..., :, 16:] == 0).all()
    torch.testing.assert_close(image[..., 16:, :16], torch.full((1, 1, 16, 16), 200.0))


def test_a_small_stone_survives_wherever_it_lies():
    whole = torch.tensor([[0.0, 0.0, 512.0, 512.0]])
    for left in range(8):
        slice_ = torch.zeros((1, 1, 512, 512), dtype=torch.uint8)
        slice_[..., 200:203, 200 + left : 203 + left] = 255
        # Nine bright pixels, spread over an area that is 64 times as large.
        assert cut_out(slice_, whole, 64).sum().item() == pytest.approx(9 * 255 / 64, rel=0.1)


@pytest.mark.parametrize(("top", "left", "side"), [(30, 40, 120), (10, 100, 90), (60, 5, 180)])
def test_the_region_is_a_little_more_than_the_body(top: int, left: int, side: int):
    region = body_region(body(256, 300, top, left, side))[0]
    lowest, leftmost, highest, rightmost = region.tolist()
    assert top - 14 <= lowest <= top
    assert leftmost <= left
    assert top + side <= highest <= top + side + 14
    assert left + side <= rightmost
    assert highest - lowest == pytest.approx(rightmost - leftmost)


def test_a_couch_is_no_body():
    slice_ = body(256, 256, 60, 60, 100)
    alone = body_region(slice_)
    slice_[..., 210:213, 20:240] = 200  # a shell three pixels thick
    torch.testing.assert_close(body_region(slice_), alone)


def test_a_window_that_hides_all_tissue_but_bone_still_shows_the_body():
    slice_ = body(256, 256, 40, 40, 170, grey=30)
    slice_[..., 110:150, 110:150] = 255  # a vertebra
    lowest, _, highest, _ = body_region(slice_)[0].tolist()
    assert lowest <= 40
    assert highest >= 210


@pytest.mark.parametrize("grey", [0, 255])
def test_without_a_body_the_whole_picture_is_the_region(grey: int):
    slice_ = torch.full((1, 1, 60, 100), grey, dtype=torch.uint8)
    torch.testing.assert_close(body_region(slice_), torch.tensor([[-20.0, 0.0, 80.0, 100.0]]))


@pytest.mark.parametrize("width", [250.0, 400.0, 1000.0])
def test_the_kidneys_of_the_phantom_are_in_the_region_in_every_window(width: float):
    for seed in range(4):
        scan = generate_scan(seed, "normal", 128, 2)
        slice_ = torch.from_numpy(to_grey(scan.hu[1], Window(40, width)))[None, None]
        kidney = torch.from_numpy(scan.masks[1] > 0)[None, None]
        region = body_region(slice_)
        inside = cut_out(kidney, region, 128).sum() * ((region[0, 2] - region[0, 0]) / 128) ** 2
        assert inside == pytest.approx(float(kidney.sum()), rel=0.03)


def test_each_slice_of_a_batch_has_its_own_region():
    slices = torch.cat([body(200, 200, 20, 30, 60), body(200, 200, 90, 80, 100)])
    together = prepare(slices, 64)
    alone = torch.cat([prepare(slices[row : row + 1], 64) for row in range(2)])
    torch.testing.assert_close(together, alone)
    assert np.ptp(body_region(slices)[:, 0].numpy()) > 30
