"""The phantom's kidneys, and the one finding that a scan's label stands for.

Sizes follow textbook anatomy: a kidney is about 11 cm long and 5 to 6 cm across, its cortex 1 cm.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from kidney.data.phantom.anatomy import spread
from kidney.data.phantom.canvas import Part, grown, random_waves
from kidney.data.phantom.patient import Patient

BACKGROUND, KIDNEY, TUMOR, CYST, STONE = range(5)


@dataclass(frozen=True)
class Kidney:
    """A kidney's frame: `u` points from the hilum to the convex border, `v` to the back.

    Args:
        centre: x, y, z in mm.
        radii: semi-axes along u, v, z in mm.
        angle: of u in the slice plane, radians.
        lean: shift in mm (x, y) per mm of z; the lower pole lies further out and in front.
        side: -1 right, 1 left.
        parts: in painting order.
    """

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    angle: float
    lean: tuple[float, float]
    side: int
    parts: tuple[Part, ...] = ()

    def at(self, u: float, v: float, z: float) -> tuple[float, float, float]:
        """Return the patient's x, y, z of a point u, v mm from the long axis at height z."""
        cos, sin, rise = math.cos(self.angle), math.sin(self.angle), z - self.centre[2]
        # v is mirrored on the right, so that it points to the back on both sides.
        x = self.centre[0] + cos * u - sin * v * self.side + self.lean[0] * rise
        return x, self.centre[1] + sin * u + abs(cos) * v + self.lean[1] * rise, z

    def reach(self, z: float) -> float:
        """Return the share of its widest cross-section that the kidney has at height z."""
        return math.sqrt(max(1 - ((z - self.centre[2]) / self.radii[2]) ** 2, 0.05))


def build_kidney(patient: Patient, side: int, rng: np.random.Generator) -> Kidney:
    """Place one kidney with its fat, medulla, sinus, calyces, pelvis and vessels."""
    s, hu = patient.scale, patient.hu
    x, y = spread(patient, side * (66 + rng.normal(0, 3)), 33 + rng.normal(0, 3))
    radii = (s * rng.uniform(27, 32), s * rng.uniform(23, 28), s * rng.uniform(54, 62))
    turned_back = math.radians(rng.uniform(15, 50))
    angle = turned_back if side > 0 else math.pi - turned_back
    centre = (x, y, -3.0 if side < 0 else 4.0)
    lean = (-side * float(rng.uniform(0.08, 0.2)), float(rng.uniform(0.02, 0.14)))
    kidney = Kidney(centre, radii, angle, lean, side)
    cortex = Part(
        centre, radii, hu["cortex"], KIDNEY, angle, lean, in_cavity=True,
        rough=float(rng.uniform(0.01, 0.035)), waves=random_waves(rng, 4, (22, 60)),
    )  # fmt: skip
    fat = grown(replace(cortex, rough=0), 2 + 12 * patient.habitus, hu["fat"], BACKGROUND)
    sinus = replace(
        cortex,
        centre=kidney.at(-0.52 * radii[0], 0, centre[2]),
        radii=(0.72 * radii[0], 0.34 * radii[1] * rng.uniform(0.8, 1.25), 0.68 * radii[2]),
        hu=hu["fat"] + 15, label=BACKGROUND, rough=0.08,
    )  # fmt: skip
    parts = [
        fat, cortex, *_pyramids(kidney, hu["medulla"], rng), sinus,
        *_collecting_system(kidney, patient, rng), *_hilar_vessels(kidney, patient, rng),
    ]  # fmt: skip
    return replace(kidney, parts=tuple(parts))


def _pyramids(kidney: Kidney, hu: float, rng: np.random.Generator) -> list[Part]:
    parts, waves = [], random_waves(rng, 3, (9, 18))
    for layer in np.linspace(-0.68, 0.68, 5):
        z, narrow = kidney.centre[2] + layer * kidney.radii[2], math.sqrt(1 - layer**2)
        for around in np.linspace(-2.0, 2.0, 6) + rng.normal(0, 0.1, size=6):
            u = 0.60 * math.cos(around) * kidney.radii[0] * narrow
            v = 0.60 * math.sin(around) * kidney.radii[1] * narrow
            turn = math.atan2(v * kidney.side, u) if kidney.side > 0 else -math.atan2(v, u)
            parts.append(
                Part(
                    kidney.at(u, v, z),
                    (rng.uniform(6, 8.5), rng.uniform(3.6, 6), 12),
                    hu,
                    KIDNEY,
                    kidney.angle + turn,
                    kidney.lean,
                    in_cavity=True,
                    rough=0.14,
                    waves=waves,
                )
            )
    return parts


def _collecting_system(kidney: Kidney, patient: Patient, rng: np.random.Generator) -> list[Part]:
    """Calyces, renal pelvis and ureter; they shine when contrast is excreted."""
    urine, (a, b, c), parts = patient.hu["urine"], kidney.radii, []
    for layer in (-0.5, -0.25, 0.0, 0.25, 0.5):
        for around in (-1.1, 0.0, 1.1):
            u = a * (0.24 * math.cos(around) - 0.12) + rng.normal(0, 1)
            v = 0.32 * b * math.sin(around) + rng.normal(0, 1)
            z = kidney.centre[2] + layer * c + rng.normal(0, 2)
            radii = (rng.uniform(2.5, 5), rng.uniform(2, 3.4), rng.uniform(7, 11))
            parts.append(Part(kidney.at(u, v, z), radii, urine, KIDNEY, kidney.angle, kidney.lean))
    width = (rng.uniform(8, 13), rng.uniform(2.5, 5), rng.uniform(16, 26))
    middle = kidney.at(-0.55 * a, 0, kidney.centre[2] - 4)
    pelvis = Part(middle, width, urine, KIDNEY, kidney.angle, kidney.lean)
    ureter = (kidney.side * 40 * patient.scale, 20 * patient.scale, kidney.centre[2] - 62)
    return [*parts, pelvis, Part(ureter, (2.6, 2.6, 46), urine, lean=(kidney.side * 0.1, 0))]


def _hilar_vessels(kidney: Kidney, patient: Patient, rng: np.random.Generator) -> list[Part]:
    """Renal vein and artery, from the hilum to vena cava and aorta."""
    parts, s = [], patient.scale
    for hu, radius, end, dz in (("vein", 4.2, -12, 8.0), ("aorta", 2.8, 5, -6.0)):
        hilum = kidney.at(-0.5 * kidney.radii[0], -3, kidney.centre[2] + dz + rng.normal(0, 7))
        dx, dy = hilum[0] - s * end, hilum[1] - s * 6
        middle = (s * end + dx / 2, s * 6 + dy / 2, hilum[2])
        size = (math.hypot(dx, dy) / 2 + 2, radius, 9 + 1.4 * radius)
        parts.append(Part(middle, size, patient.hu[hu], angle=math.atan2(dy, dx)))
    return parts


def draw_finding(
    label: str, patient: Patient, kidney: Kidney, rng: np.random.Generator
) -> tuple[Part, ...]:
    """Draw the finding of `label` in `kidney` so that every slice of the scan shows it.

    A scan's slab of slices is drawn without its label, so the finding follows the slab: a long
    slab holds a long tumour, several cysts or a row of stones through the calyces.
    """
    if label == "tumor":
        return _tumor(patient, kidney, rng)
    if label == "cyst":
        return _cysts(patient, kidney, rng)
    if label == "stone":
        return _stones(patient, kidney, rng)
    return ()


def _slab(patient: Patient) -> tuple[float, float]:
    return patient.heights[-1], patient.heights[0] - patient.heights[-1]


def _on_border(
    kidney: Kidney, z: float, out: float, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Choose a point `out` of the way from the axis to the capsule, away from psoas and spine."""
    around, reach = rng.uniform(-1.7, 0.9), kidney.reach(z) * out
    u = reach * kidney.radii[0] * math.cos(around)
    return kidney.at(u, reach * kidney.radii[1] * math.sin(around), z)


def _tumor(patient: Patient, kidney: Kidney, rng: np.random.Generator) -> tuple[Part, ...]:
    """Solid lobulated mass, uneven, dead in the middle when large (HU 20 to 150)."""
    low, length = _slab(patient)
    tall = max(rng.uniform(11, 34), 0.58 * length + 2)
    z = low + length / 2 + rng.uniform(-0.04, 0.04) * length
    wide = float(np.clip(tall * rng.uniform(0.8, 1.1), 10, 46))
    hu = patient.hu["tumor"]
    waves = random_waves(rng, 8, (0.5 * wide, 1.6 * wide))
    spread_hu = float(rng.uniform(8, 22)) * (0.5 if patient.phase == "non-contrast" else 1.0)
    centre = _on_border(kidney, z, rng.uniform(0.75, 1.1), rng)
    mass = Part(
        centre, (wide, wide * rng.uniform(0.8, 1.0), tall), hu, TUMOR, rng.uniform(0, np.pi),
        in_cavity=True, texture=spread_hu, rough=0.06, waves=waves,
    )  # fmt: skip
    bud = rng.uniform(0, 2 * np.pi)
    lobe_at = (centre[0] + 0.5 * wide * math.cos(bud), centre[1] + 0.5 * wide * math.sin(bud), z)
    lobe = replace(mass, centre=lobe_at, radii=(0.62 * wide, 0.6 * wide, 0.7 * tall))
    parts = [lobe, mass]
    if wide > 20:  # large tumours outgrow their blood supply
        dead = float(np.clip(rng.uniform(20, 32), 20, hu - 8))
        for _ in range(int(rng.integers(1, 4))):
            x, y, dz = rng.uniform(-0.3, 0.3, size=3) * (wide, wide, tall)
            size = tuple(float(r) * wide for r in rng.uniform(0.18, 0.42, size=3))
            at = (centre[0] + x, centre[1] + y, z + dz)
            hole = replace(mass, centre=at, radii=(size[0], size[1], size[2] + 4), hu=dead)
            parts.append(replace(hole, texture=4.0, rough=0.18, in_cavity=True))
    return tuple(parts)


def _cysts(patient: Patient, kidney: Kidney, rng: np.random.Generator) -> tuple[Part, ...]:
    """Smooth balls of water with a thin wall that takes up no contrast (HU 0 to 20)."""
    low, length = _slab(patient)
    count = max(1, math.ceil(length / 36))
    parts: list[Part] = []
    for number in range(count):
        share = length / count
        tall = max(rng.uniform(9, 26) / count, 0.58 * share + 2)
        wide = float(np.clip(tall * rng.uniform(0.85, 1.1), 8, 34))
        z = low + (number + 0.5) * share
        centre = _on_border(kidney, z, rng.uniform(0.7, 1.15), rng)
        cyst = Part(centre, (wide, wide * rng.uniform(0.88, 1), tall), patient.hu["cyst"], CYST)
        cyst = replace(cyst, angle=float(rng.uniform(0, np.pi)), in_cavity=True)
        parts += [grown(cyst, 0.8, 22), cyst]
    return tuple(parts)


def _stones(patient: Patient, kidney: Kidney, rng: np.random.Generator) -> tuple[Part, ...]:
    """Stones of 2 to 15 mm in calyces that hold back clear urine (HU 200 to 1500).

    The urine around a stone stays clear in the excretory phase: an obstructed calyx fills late,
    and a stone in dense contrast would be invisible in any soft-tissue window.
    """
    low, length = _slab(patient)
    count = max(1, math.ceil(length / rng.uniform(6, 10)))
    hu = float(rng.uniform(350, 1500))
    smallest = 1.5 * patient.view.pixel  # smaller stones vanish between pixels
    parts: list[Part] = []
    for number in range(count):
        share = length / count
        tall = min(max(0.72 * share, 2.5), 7.5)
        z = low + (number + 0.5) * share
        wide = max(float(rng.uniform(1.2, 6.5)), smallest)
        flat = max(wide * float(rng.uniform(0.6, 1)), smallest)
        radius = 0.3 * kidney.reach(z)
        u, v = rng.uniform(-0.7, 0.9) * radius, rng.uniform(-1, 1) * radius
        centre = kidney.at(u * kidney.radii[0], v * kidney.radii[1], z)
        stone = Part(centre, (wide, flat, tall), hu, STONE, float(rng.uniform(0, np.pi)))
        parts += [grown(stone, 2.0, patient.hu["water"], KIDNEY), stone]
    # All clear urine first, or a stone would be cut by the calyx of its neighbour.
    return (*parts[::2], *parts[1::2])
