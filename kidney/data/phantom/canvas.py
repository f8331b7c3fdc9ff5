"""Ellipsoids on a pixel grid: the drawing that the phantom is made of.

Lengths are millimetres, in the patient's frame: x to the patient's left (columns), y to the back
(rows), z to the head. HU are Hounsfield units.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Box = tuple[slice, slice]


@dataclass(frozen=True)
class Part:
    """One ellipsoid of one tissue.

    Args:
        centre: x, y, z in mm.
        radii: semi-axes in mm; the first two lie in the slice plane.
        hu: Hounsfield units inside.
        label: what its pixels become in the mask.
        angle: turn of the first axis in the slice plane, radians from x towards y.
        lean: shift of the cross-section in mm (x, y) per mm of z.
        barrel: the cross-section is the same at all z, as in a cylinder.
        fade: mm of z over which a barrel's ends fade in; a slice's thickness at least.
        square: 0 an ellipse; 0.3 bulges on the diagonals, as a trunk does.
        furrow: depth of a groove in the back, as a share of the second radius.
        in_cavity: cut off at the inner abdominal wall.
        level: keep only what lies in front of this y (gas floats).
        texture: HU by which the tissue waves.
        rough: share of the radius by which the surface waves.
        waves: float32 (k, 4), wave vectors in radians per mm and phases of texture and surface.
    """

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    hu: float
    label: int = 0
    angle: float = 0.0
    lean: tuple[float, float] = (0.0, 0.0)
    barrel: bool = False
    fade: float = 0.0
    square: float = 0.0
    furrow: float = 0.0
    in_cavity: bool = False
    level: float | None = None
    texture: float = 0.0
    rough: float = 0.0
    waves: Floats | None = None


@dataclass(frozen=True)
class View:
    """How the patient lies in the picture: all that maps pixels to millimetres.

    Args:
        size: rows and columns.
        pixel: mm.
        thickness: slice thickness in mm.
        shift: x, y in mm of the patient's axis from the middle of the picture.
        turn: rotation of the patient about the long axis, radians.
        warp: float32 (4, 4), rows of amplitude mm, wave number along the other axis and along z
            in radians per mm, and phase; two rows move x, two move y. It makes ellipses organic.
    """

    size: int
    pixel: float
    thickness: float
    shift: tuple[float, float]
    turn: float
    warp: Floats


@dataclass(frozen=True)
class Canvas:
    """One slice while it is drawn: coordinates x and y (mm), HU and mask, all (rows, cols)."""

    view: View
    z: float
    x: Floats
    y: Floats
    cavity: Floats
    hu: Floats
    mask: NDArray[np.uint8]


def picture_axis(view: View) -> Floats:
    """Return pixel centres along a side in mm from the middle of the picture, (size,)."""
    return (np.arange(view.size, dtype=np.float32) - (view.size - 1) / 2) * np.float32(view.pixel)


def open_canvas(view: View, z: float, cavity: Part) -> Canvas:
    """Lay out air at height `z`, and the abdominal cavity that organs are cut off at."""
    axis = picture_axis(view)
    across = (axis - np.float32(view.shift[0]))[None, :]
    down = (axis - np.float32(view.shift[1]))[:, None]
    cos, sin = np.float32(math.cos(view.turn)), np.float32(math.sin(view.turn))
    sines = [a * np.sin(k * axis + m * z + p, dtype=np.float32) for a, k, m, p in view.warp]
    x = cos * across + sin * down + (sines[0] + sines[1])[:, None]
    y = cos * down - sin * across + (sines[2] + sines[3])[None, :]
    shape = (view.size, view.size)
    air = np.full(shape, -1000, dtype=np.float32)
    blank = Canvas(
        view, z, x, y, np.ones(shape, dtype=np.float32), air, np.zeros(shape, dtype=np.uint8)
    )
    inside = _coverage(blank, cavity)
    if inside is not None:
        blank.cavity[:] = 0
        blank.cavity[inside[0]] = inside[1]
    return blank


def paint(canvas: Canvas, part: Part) -> None:
    """Draw one part over what is there; its edges mix with what lies below, as in a real voxel."""
    covered = _coverage(canvas, part)
    if covered is None:
        return
    box, share = covered
    if part.in_cavity:
        share = share * canvas.cavity[box]
    hu: float | Floats = part.hu
    if part.texture and part.waves is not None:
        hu = part.hu + part.texture * wave(part.waves, canvas.x[box], canvas.y[box], canvas.z)
    drawn = canvas.hu[box]
    drawn += share * (hu - drawn)
    np.copyto(canvas.mask[box], np.uint8(part.label), where=share > 0.5)


def wave(waves: Floats, x: Floats, y: Floats, z: float) -> Floats:
    """Sum the cosines of `waves` at points (x, y, z); about -1 to 1, smooth in all directions."""
    along_x, along_y = waves[:, 0, None, None], waves[:, 1, None, None]
    turns = along_x * x
    turns += along_y * y
    turns += (waves[:, 2] * np.float32(z) + waves[:, 3])[:, None, None]
    total: Floats = np.cos(turns, out=turns).sum(axis=0)
    return total / np.float32(math.sqrt(2 * len(waves)))


def random_waves(rng: np.random.Generator, count: int, length: tuple[float, float]) -> Floats:
    """Draw `count` waves in random directions with wavelengths in mm within `length`."""
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    number = 2 * np.pi / rng.uniform(*length, size=(count, 1))
    phase = rng.uniform(0, 2 * np.pi, size=(count, 1))
    return np.hstack([direction * number, phase]).astype(np.float32)


def grown(part: Part, by: float, hu: float, label: int | None = None) -> Part:
    """Return the same shape with `by` mm more (or less) on every radius and another HU."""
    a, b, c = (max(radius + by, 0.1) for radius in part.radii)
    return replace(part, radii=(a, b, c), hu=hu, label=part.label if label is None else label)


def _coverage(canvas: Canvas, part: Part) -> tuple[Box, Floats] | None:
    """Return where a part can be at all, and the share of each pixel there that it covers."""
    rise = canvas.z - part.centre[2]
    narrowing, share_of_slice = 1.0, 1.0
    if part.barrel:
        ends = max(canvas.view.thickness, part.fade)
        share_of_slice = min(max((part.radii[2] - abs(rise)) / ends + 0.5, 0.0), 1.0)
        if share_of_slice == 0:
            return None
    else:
        left = 1 - (rise / part.radii[2]) ** 2
        if left <= 0:
            return None
        narrowing = math.sqrt(left)
    x0 = part.centre[0] + part.lean[0] * rise
    y0 = part.centre[1] + part.lean[1] * rise
    a, b = part.radii[0] * narrowing, part.radii[1] * narrowing
    # The box of a turned ellipse, with room for its bulges.
    bulge = 1 + 1.5 * part.rough + part.square / 4
    turned = part.angle + canvas.view.turn
    wide = bulge * math.hypot(a * math.cos(turned), b * math.sin(turned))
    high = bulge * math.hypot(a * math.sin(turned), b * math.cos(turned))
    box = _box(canvas.view, x0, y0, wide, high)
    dx, dy = canvas.x[box] - np.float32(x0), canvas.y[box] - np.float32(y0)
    if dx.size == 0:
        return None
    cos, sin = math.cos(part.angle), math.sin(part.angle)
    p = dx * np.float32(cos / a) + dy * np.float32(sin / a)
    q = dy * np.float32(cos / b) - dx * np.float32(sin / b)
    pp, qq = p * p, q * q
    radius = np.sqrt(pp + qq)
    if part.square:
        radius -= np.float32(part.square) * pp * qq / (radius * (pp + qq) + np.float32(1e-3))
    if part.furrow:
        radius += np.where(q > 0, np.float32(part.furrow) * np.exp(-((dx / 22) ** 2)), 0)
    if part.rough and part.waves is not None:
        radius += np.float32(part.rough) * wave(part.waves, canvas.x[box], canvas.y[box], canvas.z)
    edge = np.float32(min(a, b) / canvas.view.pixel)
    radius *= -edge
    radius += edge + np.float32(0.5)
    # np.clip costs more than the two calls it stands for on boxes as small as these.
    share = np.minimum(np.maximum(radius, 0, out=radius), 1, out=radius)
    if share_of_slice < 1:
        share *= np.float32(share_of_slice)
    if part.level is not None:
        share *= np.clip((np.float32(part.level) - canvas.y[box]) / canvas.view.pixel + 0.5, 0, 1)
    return box, share


def _box(view: View, x0: float, y0: float, wide: float, high: float) -> Box:
    cos, sin = math.cos(view.turn), math.sin(view.turn)
    middle = (view.size - 1) / 2
    column = (cos * x0 - sin * y0 + view.shift[0]) / view.pixel + middle
    row = (sin * x0 + cos * y0 + view.shift[1]) / view.pixel + middle
    across, down = (float(np.abs(view.warp[i : i + 2, 0]).sum()) for i in (0, 2))
    return (
        _span(row, (high + down) / view.pixel + 1.5, view.size),
        _span(column, (wide + across) / view.pixel + 1.5, view.size),
    )


def _span(middle: float, half: float, size: int) -> slice:
    return slice(max(0, math.floor(middle - half)), max(0, min(size, math.ceil(middle + half) + 1)))
