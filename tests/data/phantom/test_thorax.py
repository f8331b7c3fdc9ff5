"""The phantom chest is CT of a body, and not of a kidney."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes, label

from kidney.data.phantom.scan import generate_scan
from kidney.data.phantom.thorax import generate_thorax
from kidney.errors import ConfigError

SEEDS = range(8)


@pytest.fixture(scope="module")
def chests() -> list[NDArray[np.int16]]:
    return [generate_thorax(seed, 128, 2) for seed in SEEDS]


def body(hu: NDArray[np.int16]) -> NDArray[np.bool_]:
    """The largest thing that is no air, its insides filled."""
    parts, _ = label(hu > -500)
    return binary_fill_holes(parts == np.bincount(parts[parts > 0]).argmax())


def lung_share(hu: NDArray[np.int16]) -> float:
    inside = hu[body(hu)]
    return float(((inside > -950) & (inside < -600)).mean())


def test_it_is_hounsfield_units_of_the_asked_size(chests: list[NDArray[np.int16]]) -> None:
    for chest in chests:
        assert chest.dtype == np.int16
        assert chest.shape == (2, 128, 128)
        assert chest.min() >= -1024
        assert chest.max() > 300  # bone
        assert np.median(chest[:, :6, :6]) < -950  # air outside


def test_lungs_fill_a_good_part_of_every_slice(chests: list[NDArray[np.int16]]) -> None:
    assert min(lung_share(hu) for chest in chests for hu in chest) > 0.2
    abdomen = generate_scan(0, "normal", 128, 2).hu
    assert max(lung_share(hu) for hu in abdomen) < 0.05


def test_heart_or_vessels_lie_between_the_lungs(chests: list[NDArray[np.int16]]) -> None:
    for chest in chests:
        columns = np.flatnonzero(body(chest[0]).any(axis=0))
        middle = chest[0][:, columns[0] : columns[-1]]
        third = middle.shape[1] // 3
        soft = (middle > 0) & (middle < 500)
        assert soft[:, third : 2 * third].mean() > soft[:, :third].mean()


def test_same_seed_gives_the_same_bytes_and_another_does_not(
    chests: list[NDArray[np.int16]],
) -> None:
    assert generate_thorax(3, 128, 2).tobytes() == chests[3].tobytes()
    assert len({chest.tobytes() for chest in chests}) == len(chests)


@pytest.mark.parametrize("setting", [{"seed": -1}, {"size": 32}, {"max_slices": 0}])
def test_a_setting_that_cannot_work_is_named(setting: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=str(next(iter(setting.values())))):
        generate_thorax(**{"seed": 1, **setting})
