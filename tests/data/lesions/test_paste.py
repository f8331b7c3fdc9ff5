import numpy as np
import pytest

from kidney.data.lesions.paste import _VALUE, KINDS, Donors, DonorSlice, blob, paste_lesions
from kidney.data.lesions.records import KIDNEY, TUMOR
from tests.helpers.lesion_sources import body


def donors() -> Donors:
    slices = []
    for tumor in (True, False):
        pixels, mask = body(np.random.default_rng(1), tumor)
        slices.append([[DonorSlice(pixels.astype(np.int16), mask, 0, int(tumor))]])
    return Donors(*slices)


@pytest.mark.parametrize("kind", KINDS)
def test_the_mask_changes_where_the_picture_does(kind: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("kidney.data.lesions.paste.KINDS", {kind: 1.0})
    changed = 0
    for seed in range(12):
        pixels, mask = body(np.random.default_rng(2))
        image = pixels.astype(np.float32)
        pasted = paste_lesions(image, mask, 1, donors(), np.random.default_rng(seed))
        new = pasted.mask != mask
        assert set(np.unique(pasted.mask[new])) <= {_VALUE[kind]}
        if kind != "healthy":
            assert (pasted.mask[pasted.drawn] == _VALUE[kind]).all()
            assert (new == pasted.drawn).all()
        else:
            assert not pasted.drawn.any()
        far = ~(new | pasted.drawn)
        untouched = np.abs(pasted.image - image)[far] == 0
        assert untouched.mean() > (0.9 if kind != "healthy" else 0.8)
        changed += pasted.image is not image
    assert changed >= 6


def test_a_slice_without_a_kidney_gets_no_lesion():
    image = np.full((96, 96), 50, np.float32)
    pasted = paste_lesions(
        image, np.zeros((96, 96), np.uint8), 3, donors(), np.random.default_rng(0)
    )
    assert pasted.image is image
    assert not pasted.mask.any()


def test_whose_tissue_is_in_a_slice_is_kept(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("kidney.data.lesions.paste.KINDS", {"tumor": 1.0})
    pixels, mask = body(np.random.default_rng(2))
    rng = np.random.default_rng(0)
    pasted = [paste_lesions(pixels.astype(np.float32), mask, 1, donors(), rng) for _ in range(6)]
    for one in pasted:
        assert bool(one.donors) == bool((one.mask == TUMOR).any())
        assert {donor.row for donor in one.donors} <= {1}


def test_a_blob_has_about_its_size():
    area = [blob(64, (32, 32), 8.0, np.random.default_rng(seed)).sum() for seed in range(20)]
    assert np.pi * 64 / 1.8 < np.mean(area) < np.pi * 64 * 1.1


def test_without_donors_lesions_are_drawn():
    pixels, mask = body(np.random.default_rng(2))
    rng = np.random.default_rng(3)
    nobody = Donors([], [])
    masks = [paste_lesions(pixels.astype(np.float32), mask, 2, nobody, rng).mask for _ in range(20)]
    assert len({int(value) for one in masks for value in np.unique(one)}) > 2
    assert all((one == KIDNEY).any() for one in masks)
