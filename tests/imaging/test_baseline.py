"""The baseline says what slices look like on the whole, and moves when they do."""

import json

import numpy as np
import pytest

from kidney.imaging.appearance import GREY_BINS, baseline, thumbnail
from tests.helpers.data_slices import scan

SLICES = [slice_ for seed in range(4) for slice_ in scan(seed, 3)]
LOOKS = np.stack([thumbnail(slice_) for slice_ in SLICES])
SHAPES = [slice_.shape for slice_ in SLICES]


def test_shares_sum_to_one_and_the_whole_is_json() -> None:
    made = baseline(LOOKS, SHAPES)
    assert json.loads(json.dumps(made)) == made
    assert made["slices"] == 12
    assert len(made["grey"]) == GREY_BINS
    for shares in (made["grey"], *(made[name].values() for name in ("sizes", "phase", "view"))):
        assert sum(shares) == pytest.approx(1, abs=1e-3)


def test_sizes_are_width_by_height() -> None:
    assert baseline(LOOKS[:4], [(48, 64)] * 3 + [(10, 20)])["sizes"] == {
        "20 x 10": 0.25,
        "64 x 48": 0.75,
    }


def test_greys_fall_into_their_steps() -> None:
    halves = np.zeros((1, 96, 96), np.uint8)
    halves[:, 48:] = 255
    made = baseline(halves, [(96, 96)])
    assert (made["grey"][0], made["grey"][-1]) == (0.5, 0.5)
    assert made["embedding"]["mean"] == [0.0] * 32 + [255.0] * 32
    assert made["embedding"]["std"] == [0.0] * 64


def test_brighter_slices_are_another_baseline() -> None:
    brighter = np.clip(LOOKS.astype(int) + 40, 0, 255).astype(np.uint8)
    old, new = baseline(LOOKS, SHAPES), baseline(brighter, SHAPES)
    assert np.mean(new["soft_grey"]) > np.mean(old["soft_grey"])
    assert np.mean(new["embedding"]["mean"]) > np.mean(old["embedding"]["mean"]) + 30
    assert new["grey"] != old["grey"]


def test_quantiles_ascend_from_the_least_to_the_most() -> None:
    for name in ("enhancement", "soft_grey", "body_share"):
        values = baseline(LOOKS, SHAPES)[name]
        assert values == sorted(values)
        assert len(values) == 11
