"""Everything in an abdomen at kidney level but the kidneys, as ellipsoids in painting order.

Positions are given for an average patient in mm (x to the patient's left, y to the back, z to the
head, 0 between the kidneys) and spread out with the fat inside the abdomen.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from kidney.data.phantom.canvas import Part, grown, random_waves
from kidney.data.phantom.patient import Patient, body_radii, wall_radii

INFINITE = 1e6
SPINE_Y = 38.0  # middle of a vertebral body


@dataclass(frozen=True)
class Abdomen:
    """Parts in painting order: `behind` the kidneys first, and `before` them last.

    `cavity` is the inside of the abdominal wall; organs are cut off there.
    """

    cavity: Part
    behind: tuple[Part, ...]
    before: tuple[Part, ...]


def build_abdomen(patient: Patient, rng: np.random.Generator) -> Abdomen:
    """Place wall, bones, muscles, vessels and organs of one patient."""
    wall = wall_of(patient)
    gut, organs = _bowel(patient, rng), _organs(patient, rng)
    behind = [*wall, *_small_vessels(patient, rng), *gut, *organs]
    before = [*_great_vessels(patient, rng), *_muscles(patient), *spine_of(patient, rng)]
    return Abdomen(wall[-1], tuple(behind), (*before, *_ribs(patient, rng)))


def spread(patient: Patient, x: float, y: float) -> tuple[float, float]:
    """Move a reference position apart from the spine as this patient's inner fat does."""
    s, h = patient.scale, patient.habitus
    return s * x * (0.92 + 0.26 * h), s * (SPINE_Y + (y - SPINE_Y) * (0.9 + 0.4 * h))


def _organ(
    patient: Patient,
    centre: tuple[float, float, float],
    radii: tuple[float, float, float],
    hu: float,
    angle: float = 0.0,
) -> Part:
    x, y = spread(patient, centre[0], centre[1])
    a, b, c = (patient.scale * radius for radius in radii)
    return Part((x, y, centre[2]), (a, b, c), hu, angle=angle, in_cavity=True)


def wall_of(patient: Patient) -> list[Part]:
    """Return skin, subcutaneous fat, muscle with a stripe of fat, and last the cavity."""
    body, muscle = body_radii(patient.habitus, patient.scale), wall_radii(*_build(patient))
    fat, s = patient.hu["fat"], patient.scale
    # More fat lies in front and at the sides than over the spine.
    belly = 6 - 9 * patient.habitus
    trunk = Part(
        (0, belly, 0), (body[0], body[1], INFINITE), 10, barrel=True, square=0.25, furrow=0.05
    )
    ring = Part(
        (0, 4, 0), (muscle[0], muscle[1], INFINITE), patient.hu["muscle"], barrel=True, square=0.2
    )
    ring = replace(ring, furrow=0.04)
    cavity = Part(
        (0, -1, 0), (muscle[0] - 15 * s, muscle[1] - 11 * s, INFINITE), fat, barrel=True, square=0.2
    )
    return [
        trunk,
        grown(trunk, -2.2, fat),
        ring,
        grown(ring, -5 * s, fat + 40),
        grown(ring, -6.6 * s, patient.hu["muscle"]),
        cavity,
    ]


def _build(patient: Patient) -> tuple[float, float]:
    return patient.habitus, patient.scale


def _organs(patient: Patient, rng: np.random.Generator) -> list[Part]:
    """Liver, gallbladder, spleen, stomach, pancreas and duodenum."""
    hu, waves = patient.hu, random_waves(rng, 4, (40, 90))
    low = rng.uniform(-25, 25)  # how far down the liver reaches differs between people
    liver = _organ(
        patient, (-88, -16, 60 + low), (52, 68, rng.uniform(120, 150) + low), hu["liver"],
        rng.uniform(-0.25, 0.25),
    )  # fmt: skip
    liver = replace(liver, rough=0.05, waves=waves, texture=3.0)
    left_lobe = _organ(patient, (-30, -58, 72 + low), (58, 26, 62), hu["liver"], -0.15)
    reach = rng.uniform(105, 125) if rng.random() < 0.6 else 35
    spleen = _organ(patient, (106, 12, 62), (24, 44, reach), hu["spleen"], 0.2)
    spleen = replace(spleen, texture=14.0 if patient.phase == "arterial" else 2.0, waves=waves)
    parts = [liver, left_lobe, *_vessels_of_liver(patient, liver, rng), spleen]
    if rng.random() < 0.6:
        parts.append(_organ(patient, (-48, -48, 10 + low), (14, 20, 34), hu["water"], 0.4))
    stomach = _organ(patient, (58, -48, 62), (34, 26, 75), hu["bowel wall"], -0.3)
    inside = grown(stomach, -4, rng.uniform(5, 45))
    gas = replace(inside, hu=-980, level=stomach.centre[1] - rng.uniform(0, 14))
    head = _organ(patient, (-24, -14, 0), (17, 14, 34), hu["pancreas"], 0.3)
    tail = _organ(patient, (26, -22, 26), (46, 10, 38), hu["pancreas"], -0.35)
    waves = random_waves(rng, 4, (12, 25))
    pancreas = [replace(p, texture=12.0, waves=waves, rough=0.08) for p in (head, tail)]
    duodenum = _organ(patient, (-46, -4, -6), (13, 12, 50), hu["bowel wall"])
    return [
        *parts, stomach, inside, gas, *pancreas, duodenum, grown(duodenum, -3, rng.uniform(5, 35)),
    ]  # fmt: skip


def _vessels_of_liver(patient: Patient, liver: Part, rng: np.random.Generator) -> list[Part]:
    hu = patient.hu["vein"] if patient.phase != "arterial" else patient.hu["liver"] + 8
    parts = []
    for _ in range(7):
        around, out = rng.uniform(0, 2 * np.pi), rng.uniform(0.15, 0.65)
        x = liver.centre[0] + out * liver.radii[0] * math.cos(around)
        y = liver.centre[1] + out * liver.radii[1] * math.sin(around)
        lean = (float(rng.normal(0, 0.25)), float(rng.normal(0, 0.25)))
        radii = (float(rng.uniform(3, 7)), float(rng.uniform(2, 4)), 38.0)
        angle, z = float(rng.uniform(0, np.pi)), liver.centre[2] - 20 + rng.uniform(-30, 30)
        parts.append(Part((x, y, z), radii, hu, angle=angle, lean=lean, in_cavity=True))
    return parts


def _bowel(patient: Patient, rng: np.random.Generator) -> list[Part]:
    """Small bowel, and the ascending, transverse and descending colon."""
    fed = rng.uniform(8, 40) if rng.random() < 0.85 else rng.uniform(110, 220)  # oral contrast
    parts: list[Part] = []
    for _ in range(int(rng.integers(20, 32))):
        # Loops lie in front of the spine, more of them on the left and lower down.
        x, y, z = rng.uniform(-80, 100), rng.uniform(-70, 0), rng.uniform(-80, 50)
        y -= 0.3 * max(0.0, 45 - abs(x))  # none lies where the great vessels are
        radii = (rng.uniform(10, 21), rng.uniform(9, 14), rng.uniform(45, 90))
        loop = _organ(patient, (x, y, z), radii, patient.hu["bowel wall"], rng.uniform(0, np.pi))
        lean = (float(rng.normal(0, 0.2)), float(rng.normal(0, 0.12)))
        parts += _gut(replace(loop, lean=lean), fed + rng.normal(0, 5), 0.15, rng)
    for x, y, r, reach in ((-98, 8, 21, -45), (100, 22, 15, -20), (-20, -66, 15, 10)):
        flat = 2.4 if y < -50 else 1.0  # the transverse colon runs across the slice
        size = (r * flat * rng.uniform(0.8, 1.15), r * rng.uniform(0.8, 1.15), 75)
        at = (x + rng.normal(0, 4), y + rng.normal(0, 4), reach + rng.normal(0, 12))
        parts += _gut(
            _organ(patient, at, size, patient.hu["bowel wall"]), rng.uniform(15, 55), 0.8, rng
        )
    return parts


def _gut(loop: Part, hu: float, gas: float, rng: np.random.Generator) -> list[Part]:
    """Return wall, contents, and gas in a share `gas` of loops."""
    contents = replace(grown(loop, -rng.uniform(1.5, 3), hu), texture=6.0)
    contents = replace(contents, waves=random_waves(rng, 3, (10, 22)))
    if rng.random() > gas:
        return [loop, contents]
    level = loop.centre[1] + rng.uniform(-0.8, 0.5) * min(loop.radii[:2])
    return [loop, contents, replace(contents, hu=-960, texture=30.0, level=float(level))]


def _small_vessels(patient: Patient, rng: np.random.Generator) -> list[Part]:
    """Mesenteric branches in the fat, and the superior mesenteric artery and vein."""
    parts = []
    for _ in range(36):
        x, y = spread(patient, rng.uniform(-85, 95), rng.uniform(-70, 10))
        radii = (float(rng.uniform(1, 2.6)), float(rng.uniform(1, 2.6)), 30.0)
        hu = patient.hu["vein"] if rng.random() < 0.6 else (patient.hu["aorta"] + 50) / 2
        lean = (float(rng.normal(0, 0.3)), float(rng.normal(0, 0.2)))
        at = (x, y, float(rng.uniform(-60, 60)))
        parts.append(Part(at, radii, hu, lean=lean, in_cavity=True))
    artery = _organ(patient, (4, -12, 0), (3.6, 3.6, INFINITE), patient.hu["aorta"])
    vein = _organ(patient, (-8, -13, 0), (5.5, 5, INFINITE), patient.hu["vein"])
    return [*parts, artery, vein]


def _great_vessels(patient: Patient, rng: np.random.Generator) -> list[Part]:
    """Aorta, with calcified wall in some (whatever the label), and inferior vena cava."""
    s, hu = patient.scale, patient.hu
    r = s * rng.uniform(8.5, 11.5)
    aorta = Part((s * 7, s * 9, 0), (r, r, INFINITE), hu["aorta"], barrel=True)
    size = (s * rng.uniform(9, 14), s * rng.uniform(6, 9), INFINITE)
    vena_cava = Part((s * -19, s * 9, 0), size, hu["vein"], barrel=True, angle=-0.2)
    parts = [vena_cava, aorta]
    for _ in range(int(rng.integers(0, 4)) if rng.random() < 0.4 else 0):
        around = rng.uniform(0, 2 * np.pi)
        at = (s * 7 + r * math.cos(around), s * 9 + r * math.sin(around), rng.uniform(-45, 45))
        radii = (float(rng.uniform(1.5, 3.5)), 1.3, float(rng.uniform(6, 16)))
        parts.append(Part(at, radii, rng.uniform(400, 900), angle=around + np.pi / 2))
    return parts


def _muscles(patient: Patient) -> list[Part]:
    """Psoas, quadratus lumborum, crura and the erector spinae, on both sides."""
    s, hu = patient.scale, patient.hu["muscle"]
    parts = []
    for side in (-1, 1):
        # The psoas is a spindle that thickens downwards.
        parts.append(
            Part((side * s * 37, s * 42, -70), (s * 17, s * 20, 125), hu, angle=-side * 0.3)
        )
        parts.append(
            Part((side * s * 66, s * 68, -30), (s * 21, s * 7, 110), hu, angle=side * -0.25)
        )
        parts.append(Part((side * s * 13, s * 17, 50), (s * 5, s * 13, 80), hu, angle=-side * 0.2))
        back = Part((side * s * 33, s * 78, 0), (s * 28, s * 15, INFINITE), hu, barrel=True)
        lumbar_fat = grown(replace(back, angle=-side * 0.12), 2.0, patient.hu["fat"])
        parts += [lumbar_fat, replace(back, angle=-side * 0.12)]
    return parts


def spine_of(patient: Patient, rng: np.random.Generator) -> list[Part]:
    """Return vertebral bodies with discs between, the canal, and the processes."""
    s, marrow, y = patient.scale, patient.hu["marrow"], patient.scale * SPINE_Y
    period, first = s * 36, rng.uniform(-18, 18)
    disc = Part((0, y, 0), (s * 22, s * 16, INFINITE), 105, barrel=True, square=0.2)
    parts = [disc]
    for level in range(-3, 4):
        z = first + level * period
        body = Part((0, y, z), (s * 23, s * 17, s * 14), 420, barrel=True)
        body = replace(body, square=0.25, fade=20)  # endplates are hollow, so a disc fades in
        parts += [body, grown(body, -2.2, marrow)]
    # The canal's bony ring runs through all slices; pedicles, laminae and processes swell with
    # each vertebra, so that neighbouring slices differ a little and smoothly.
    arch = Part((0, s * 63, 0), (s * 15, s * 12, INFINITE), 330, barrel=True)
    parts.append(arch)
    for level in range(-3, 4):
        z = first + level * period
        parts.append(Part((0, s * 80, z - 12), (s * 4, s * 13, s * 24), 380))
        for side in (-1, 1):
            parts.append(Part((side * s * 14, s * 57, z + 5), (s * 6, s * 9, s * 13), 420))
            wing = Part((side * s * 31, s * 61, z), (s * 20, s * 3.4, s * 8), 280, angle=side * 0.2)
            parts += [
                replace(wing, barrel=True, fade=20),
                Part((side * s * 17, s * 68, z - 17), (s * 7, s * 7, s * 15), 450),
            ]
    canal = Part((0, s * 61, 0), (s * 10.5, s * 8, INFINITE), 25, barrel=True)
    return [*parts, canal, grown(canal, -4 * s, 42)]


def _ribs(patient: Patient, rng: np.random.Generator) -> list[Part]:
    """Ribs 9 to 12 where they run obliquely through the wall."""
    a, b = wall_radii(*_build(patient))
    a, b = a - 8 * patient.scale, b - 7 * patient.scale
    parts = []
    for side in (-1, 1):
        start = rng.uniform(0, 12)
        for rib in range(5):
            # Angle from the patient's side: 1.3 is near the spine, -0.6 near the belly.
            around = 1.12 - 0.40 * rib + rng.normal(0, 0.04)
            at = (side * a * math.cos(around), 4 + b * math.sin(around), start + 16 * rib)
            tangent = math.atan2(b * math.cos(around), -side * a * math.sin(around))
            # A rib falls towards the front: going up along z, its section moves to the back.
            lean = (0.4 * math.cos(tangent), 0.4 * math.sin(tangent))
            radii = (
                patient.scale * rng.uniform(7, 11),
                patient.scale * 3.6,
                float(rng.uniform(60, 110)),
            )
            outer = Part(at, radii, 520, angle=tangent, lean=lean)
            parts += [outer, grown(outer, -1.7, 190)]
    return parts
