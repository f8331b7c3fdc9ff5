"""Slices that look enough like abdominal CT to have a phase, a plane and a size."""

import numpy as np

SIZES = ((96, 96), (96, 96), (64, 64))


def drawn(
    number: int,
    seed: int,
    *,
    brighter: int = 0,
    sizes: tuple[tuple[int, int], ...] = SIZES,
    enhanced: float = 0.4,
) -> list[np.ndarray]:
    """Draw bodies of soft tissue with an organ, some of them enhanced.

    Args:
        number: of slices.
        seed: of the chance.
        brighter: greys that are added to the tissue.
        sizes: (H, W) to choose from.
        enhanced: share with contrast medium.
    """
    chance = np.random.default_rng(seed)
    slices = []
    for _ in range(number):
        height, width = sizes[chance.integers(len(sizes))]
        row, column = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        wide, high = chance.uniform(0.6, 0.85), chance.uniform(0.45, 0.7)
        body = (column / wide) ** 2 + (row / high) ** 2 < 1
        organ = ((column - 0.3) / 0.25) ** 2 + (row / 0.25) ** 2 < 1
        picture = np.zeros((height, width))
        picture[body] = chance.uniform(80, 120) + brighter
        contrast = chance.uniform(40, 90) if chance.random() < enhanced else chance.uniform(0, 25)
        picture[organ & body] = 110 + contrast + brighter
        picture += body * chance.normal(0, 6, picture.shape)
        slices.append(np.clip(picture, 0, 255).astype(np.uint8))
    return slices
