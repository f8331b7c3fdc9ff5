import numpy as np
from scipy.ndimage import distance_transform_edt

from kidney.data.lesions.decoys import add_arms, add_decoys, erase_kidneys
from kidney.data.lesions.paste import Donors, DonorSlice
from tests.helpers.lesion_sources import body


def donors() -> Donors:
    pixels, mask = body(np.random.default_rng(1))
    return Donors([], [], [[DonorSlice(pixels.astype(np.int16), mask, 0, 3)]])


def test_erased_kidneys_leave_mask_and_picture():
    pixels, mask = body(np.random.default_rng(2), True)
    image = pixels.astype(np.float32)
    for seed in range(10):
        found = erase_kidneys(image, mask, donors(), np.random.default_rng(seed))
        gone = (mask > 0) & (found.mask == 0)
        assert gone.any()
        assert (found.mask[~gone] == mask[~gone]).all()
        assert np.abs(found.image - image)[gone].mean() > 20
        assert found.donor is None or found.donor.row == 3


def test_decoys_stay_away_from_the_kidneys():
    pixels, mask = body(np.random.default_rng(2))
    image = pixels.astype(np.float32)
    near, changed = distance_transform_edt(mask == 0) < 8, 0
    for seed in range(10):
        for others in (donors(), None):
            found, used = add_decoys(image, mask, others, np.random.default_rng(seed))
            assert np.abs(found - image)[near].max() < 1e-3
            assert others is not None or (not used and found.max() <= 255)
            changed += (found != image).any()
    assert changed >= 10


def test_arms_lie_beside_the_body():
    image = np.zeros((96, 96), np.float32)
    image[25:75, 25:71] = 120
    changed = 0
    for seed in range(5):
        found = add_arms(image, np.random.default_rng(seed))
        assert (found[30:70, 34:62] == 120).all()
        assert 0 <= found.min() <= found.max() <= 255
        changed += (found != image).any()
    assert changed >= 3
