"""CT of a chest out of numbers: the same scanner and patients, but no kidney in the picture.

A model of kidneys should refuse it, although it is CT of a body. The arms are raised, as usual.
Sizes follow textbook anatomy; positions are in mm as in the abdomen (0 is about the level of the
left atrium, the carina some 20 mm above).
"""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from kidney.data.phantom.anatomy import INFINITE, spine_of, wall_of
from kidney.data.phantom.canvas import Part, grown, random_waves
from kidney.data.phantom.patient import Patient, draw_patient, wall_radii
from kidney.data.phantom.scan import check_protocol, draw_slice

LEVELS = (-45.0, 60.0)  # mm: from the ventricles to above the aortic arch


def generate_thorax(seed: int, size: int = 256, max_slices: int = 12) -> NDArray[np.int16]:
    """Draw one chest scan; the same arguments give the same bytes.

    Args:
        seed: 0 or more; phases, bodies, noise and framing are drawn as for `generate_scan`.
        size: rows and columns, 64 or more.
        max_slices: the most slices, 1 or more.

    Returns:
        int16 (slices, rows, cols), Hounsfield units, -1024 to 3071, head first.

    Raises:
        ConfigError: a number out of range.
    """
    check_protocol(seed, size, max_slices)
    patient = draw_patient(seed, size, max_slices)
    rng = np.random.default_rng([seed, 4])
    level = rng.uniform(*LEVELS) - sum(patient.heights) / len(patient.heights)
    wall = wall_of(patient)
    cavity = _chest_wall(patient)
    parts = [
        *wall[:-1], cavity, *_lungs(patient, cavity, rng), *_mediastinum(patient, rng),
        *_back(patient), *spine_of(patient, rng), *_bones(patient, rng),
    ]  # fmt: skip
    shot = np.random.default_rng([seed, 5])
    slices = [draw_slice(patient, cavity, parts, z + level, shot)[0] for z in patient.heights]
    return np.stack(slices)


def _chest_wall(patient: Patient) -> Part:
    """Return the inside of the rib cage, which is muscle where no lung or vessel lies."""
    s, (a, b) = patient.scale, wall_radii(patient.habitus, patient.scale)
    radii = (a - 19 * s, b - 15 * s, INFINITE)
    return Part((0, -1, 0), radii, patient.hu["muscle"], barrel=True, square=0.15)


def _lungs(patient: Patient, cavity: Part, rng: np.random.Generator) -> list[Part]:
    """Two lungs, each with branches of vessels that run outwards from its root."""
    a, b = cavity.radii[:2]
    air = float(rng.uniform(-890, -800))
    waves = random_waves(rng, 5, (8, 40))
    parts = []
    for side in (-1, 1):
        lung = Part(
            (side * 0.52 * a, 0.06 * b, -30), (0.45 * a, 0.9 * b, float(rng.uniform(170, 210))),
            air, angle=-side * float(rng.uniform(0, 0.12)), in_cavity=True, texture=14.0,
            square=0.3, waves=waves,
        )  # fmt: skip
        parts.append(lung)
        for _ in range(70):
            # Branches get thinner outwards, and few reach the pleura.
            out, around = rng.beta(1.3, 1.6), rng.uniform(0, 2 * np.pi)
            x = side * 0.52 * a + 0.42 * a * out * math.cos(around)
            y = 0.06 * b + 0.84 * b * out * math.sin(around)
            thick = float(rng.uniform(0.6, 1.4) * (3.6 - 2.6 * out)) * patient.scale
            long = thick * float(rng.uniform(1, 4))
            lean = (float(rng.normal(0, 0.4)), float(rng.normal(0, 0.4)))
            angle = math.atan2(y, x - side * 0.2 * a)
            at = (x, y, float(rng.uniform(-110, 110)))
            vessel = Part(at, (long, thick, 24.0), patient.hu["vein"], angle=angle, lean=lean)
            parts.append(replace(vessel, in_cavity=True))
    return parts


def _mediastinum(patient: Patient, rng: np.random.Generator) -> list[Part]:
    """Fat, heart, great vessels, airways and oesophagus, from the back of the painting on."""
    s, hu = patient.scale, patient.hu
    blood, vein = hu["aorta"], hu["vein"]

    def tube(x: float, y: float, a: float, b: float, value: float) -> Part:
        return Part((s * x, s * y, 0), (s * a, s * b, INFINITE), value, barrel=True)

    def organ(
        at: tuple[float, float, float], radii: tuple[float, float, float], value: float,
        angle: float = 0.0,
    ) -> Part:  # fmt: skip
        x, y, z = at
        a, b, c = (s * radius for radius in radii)
        return Part((s * x, s * y, z), (a, b, c), value, angle=angle, in_cavity=True)

    wide = float(rng.uniform(28, 38))
    heart = organ((22, -34, -52), (float(rng.uniform(54, 66)), 42, 58), hu["muscle"], 0.55)
    rough = random_waves(rng, 4, (40, 90))
    heart = replace(heart, rough=0.04, waves=rough)
    left, right = (blood, vein) if rng.random() < 0.7 else (vein, blood)  # which half is filled
    arch = organ((12, -12, 46), (14, 44, 13), blood, -0.5)
    branches = [tube(x, y, r, r, blood) for x, y, r in ((-6, -32, 5.5), (8, -26, 4), (20, -14, 5))]
    above_arch = [
        replace(part, barrel=False, centre=(*part.centre[:2], 105), radii=(*part.radii[:2], 62))
        for part in branches
    ]
    trachea = organ((-2, -2, 90), (9, 8.5, 72), hu["muscle"])
    bronchi = [
        replace(organ((side * 20, 0, 12), (19, 6.5, 9), hu["muscle"]), lean=(side * -0.7, 0))
        for side in (-1, 1)
    ]
    airways = [part for tube_ in (trachea, *bronchi) for part in (tube_, grown(tube_, -1.5, -980))]
    return [
        replace(tube(2, -30, wide, 62, hu["fat"] + 20), in_cavity=True),
        grown(heart, 4, hu["fat"] + 10), heart,
        organ((38, -30, -58), (26, 18, 36), left, 0.6),  # left ventricle
        organ((-2, -48, -56), (28, 17, 40), right, 0.4),  # right ventricle
        organ((-32, -28, -42), (19, 22, 34), right),  # right atrium
        organ((6, -6, -20), (31, 15, 26), left),  # left atrium
        organ((-4, -40, 10), (15, 15, 40), blood),  # ascending aorta
        organ((18, -38, 4), (14, 13, 26), right),  # pulmonary trunk
        organ((-6, -20, 0), (40, 9, 11), right, -0.15),  # right pulmonary artery
        arch, *above_arch,
        organ((-26, -26, 40), (9, 9, 75), vein),  # superior vena cava
        tube(22, 24, float(rng.uniform(10, 13.5)), float(rng.uniform(10, 13.5)), blood),
        tube(4, 16, 8, 5.5, hu["bowel wall"]),  # oesophagus
        *airways,
    ]  # fmt: skip


def _back(patient: Patient) -> list[Part]:
    """Muscle around the spine, where no lung reaches."""
    s, hu = patient.scale, patient.hu["muscle"]
    middle = Part((0, s * 74, 0), (s * 42, s * 26, INFINITE), hu, barrel=True)
    sides = [
        Part((side * s * 27, s * 80, 0), (s * 24, s * 13, INFINITE), hu, barrel=True)
        for side in (-1, 1)
    ]
    return [middle, *(grown(part, 1.5, patient.hu["fat"]) for part in sides), *sides]


def _bones(patient: Patient, rng: np.random.Generator) -> list[Part]:
    """Ribs in oblique section all around, sternum, and shoulder blades in the upper slices."""
    s, (a, b) = patient.scale, wall_radii(patient.habitus, patient.scale)
    a, b = a - 13 * s, b - 10 * s
    parts, first = [], rng.uniform(0, 14)
    for side in (-1, 1):
        for rib in range(24):
            # A rib goes down and forward: its sections move to the front from slice to slice.
            around = 1.15 - 0.38 * (rib % 7) + rng.normal(0, 0.03)
            z = -110 + first + 13 * rib
            at = (side * a * math.cos(around), b * math.sin(around), z)
            tangent = math.atan2(b * math.cos(around), -side * a * math.sin(around))
            lean = (0.7 * math.cos(tangent), 0.7 * math.sin(tangent))
            radii = (s * float(rng.uniform(9, 16)), s * 3.8, float(rng.uniform(16, 30)))
            outer = Part(at, radii, 560, angle=tangent, lean=lean)
            parts += [outer, grown(outer, -1.7, 200)]
        blade = Part(
            (side * 0.78 * a, 0.92 * b, 75), (s * 34, s * 3.6, 60), 520,
            angle=-side * 0.75,
        )  # fmt: skip
        parts += [blade, grown(blade, -1.5, 220)]
    sternum = Part((0, -b - 1, 0), (s * 17, s * 5.5, INFINITE), 320, barrel=True)
    return [*parts, sternum, grown(sternum, -1.8, 130)]
