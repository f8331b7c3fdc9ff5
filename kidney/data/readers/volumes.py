"""CT volumes with masks, as NIfTI files: the mask says what a slice shows."""

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from kidney.data.readers.interface import RawSlice, Refused, Task
from kidney.errors import ConfigError, ImageError
from kidney.imaging.nifti import read_mask, read_volume
from kidney.imaging.windows import Window, to_grey, window_named

SMALLEST_MM2 = 20.0  # a disc 5 mm wide: less is a partial volume that nobody would report

Values = Mapping[str, Sequence[int] | int]


@dataclass(frozen=True)
class Case:
    """A volume and its mask, as POSIX paths below the raw folder; `name` tells cases apart."""

    name: str
    image: str
    mask: str


@dataclass(frozen=True)
class Slicing:
    """Which slices of a volume are taken, and what they say of themselves.

    Attributes:
        window: through which the slices are shown.
        smallest_mm2: see label_of_slice.
        step_mm: see read.
        phase: as in RawSlice.
    """

    window: Window
    smallest_mm2: float
    step_mm: float
    phase: str


def read(
    raw: Path,
    *,
    image: str,
    mask: str,
    values: Values,
    healthy: str = "",
    leave_out: Sequence[int] | int = (),
    window: str = "abdomen",
    smallest_mm2: float = SMALLEST_MM2,
    step_mm: float = 0.0,
    phase: str = "",
) -> list[Task]:
    """List one task a volume: a compressed volume cannot be read in parts.

    Args:
        raw: the raw folder; cases may lie at any depth.
        image: the end of a volume's path, with one star at most. "image.nii.gz": one case a
            folder. "*.nii.gz": many in a folder.
        mask: the end of its mask's path beside it; a star stands for what it stood for in
            `image`, so "*.nii.gz" and "*-organs.nii.gz" fit together, or "imagesTr/*_0000.nii.gz"
            and "labelsTr/*.nii.gz".
        values: class -> its values in the masks; the order decides, see label_of_slice.
        healthy: the class that comes last, wherever `values` has it: a finding that is added
            behind it would never label a slice, for the kidney is there as well.
        leave_out: values whose slices are left out: a finding that has no class is not healthy.
        window: name or width/level in HU.
        smallest_mm2: the smallest area that counts as seen.
        step_mm: the least distance between slices to take, to a thousandth of their own distance;
            0 takes all. Slices 0.5 mm apart are nearly the same picture many times.
        phase: "enhanced" or "plain" where that is known of the whole set.

    Returns:
        Tasks whose slices have their case's name as scan and as patient.

    Raises:
        ConfigError: patterns that cannot pair files, or an unknown window.
    """
    cases, refused = find_cases(raw, image, mask)
    slicing = Slicing(window_named(window), smallest_mm2, step_mm, phase)
    ordered = _by_priority(values, healthy, leave_out)
    tasks: list[Task] = [lambda: refused] if refused else []
    return tasks + [partial(read_case, raw, case, ordered, slicing) for case in cases]


def label_of_slice(
    mask: NDArray[np.integer], values: Values, pixel_mm2: float, smallest_mm2: float
) -> str:
    """Label a slice by its mask; "" where it is to be left out.

    The first class of `values` of which a single pixel is there decides, so findings come before
    the healthy kidney, the rarest first. Where that class covers too little to be seen, the slice
    is left out: it does not show the finding and is not free of it either. So are slices in which
    no class is there. A class called "" leaves out the slices that show it.

    Args:
        mask: integers (H, W).
        values: class -> its values in the mask, in order of priority.
        pixel_mm2: area of a pixel in mm².
        smallest_mm2: the smallest area, all its parts together, that counts as seen.
    """
    for label, numbers in values.items():
        area = np.count_nonzero(np.isin(mask, numbers)) * pixel_mm2
        if area > 0:
            return label if area >= smallest_mm2 else ""
    return ""


def find_cases(raw: Path, image: str, mask: str) -> tuple[list[Case], list[Refused]]:
    """Pair volumes with masks; see `read` for the patterns.

    Returns:
        The pairs in the order of their paths, and the volumes and masks without a partner.

    Raises:
        ConfigError: patterns that cannot pair files.
    """
    if image == mask or image.count("*") > 1 or mask.count("*") > image.count("*"):
        raise ConfigError(
            f"Expected patterns that pair volumes with masks, got {image!r} and {mask!r}.",
            "Give two that differ, with one star at most each, and none in data.read.mask alone: "
            "image.nii.gz and labels.nii.gz, or *.nii.gz and *-labels.nii.gz.",
        )
    files = {p.relative_to(raw).as_posix() for p in raw.rglob("*") if p.is_file()}
    mask_of = {}
    for path in files:
        if found := _pattern(image).fullmatch(path):
            star = found["star"] if "*" in image else ""
            mask_of[path] = found["above"] + mask.replace("*", star)
    # With "*.nii.gz" as volumes, masks match as well: what is a mask of another is no volume.
    volumes = sorted(set(mask_of) - set(mask_of.values()))
    cases = [Case(_name(path, image), path, mask_of[path]) for path in volumes]
    refused = [
        Refused(case.image, f"Expected a mask at {case.mask}, but there is none.")
        for case in cases
        if case.mask not in files
    ]
    alone = {path for path in files if _pattern(mask).fullmatch(path)}
    refused += [
        Refused(path, f"Expected a volume ({image}) for the mask {path}, but there is none.", True)
        for path in sorted(alone - set(mask_of) - set(mask_of.values()))
    ]
    return [case for case in cases if case.mask in files], refused


def read_case(raw: Path, case: Case, values: Values, slicing: Slicing) -> list[RawSlice | Refused]:
    """Read the slices of a case that have a label, head first.

    Args:
        raw: the raw folder.
        case: one of find_cases.
        values: see label_of_slice.
        slicing: which slices to take.

    Returns:
        The slices, whose frame counts from the head; or the one file that cannot be read; or the
        volume, as expected, where no slice has a label.
    """
    try:
        volume = read_volume(raw / case.image, case.image)
    except ImageError as error:
        return [_unreadable(raw, case.image, error)]
    try:
        masks = read_mask(raw / case.mask, raw / case.image, case.mask).voxels
    except ImageError as error:
        return [_unreadable(raw, case.mask, error)]
    slice_mm, row_mm, column_mm = volume.spacing
    slices: list[RawSlice | Refused] = []
    # Less a thousandth: NIfTI holds 32-bit floats, and 3 mm may be 2.9999998.
    step = max(1, math.ceil(slicing.step_mm / slice_mm - 1e-3))
    for frame, mask in enumerate(masks):
        if frame % step:
            continue
        label = label_of_slice(mask, values, row_mm * column_mm, slicing.smallest_mm2)
        if not label:
            continue
        pixels = to_grey(volume.voxels[frame], slicing.window)
        slices.append(
            RawSlice(
                path=case.image,
                label=label,
                pixels=pixels,
                sha256=hashlib.sha256(pixels.tobytes()).hexdigest(),
                frame=frame,
                scan=case.name,
                patient=case.name,
                phase=slicing.phase,
                plane="axial",  # read_volume turns every volume so
                window=str(slicing.window),
                pixel_mm=round(row_mm, 4),  # NIfTI holds 32-bit floats
                slice_mm=round(slice_mm * step, 4),
            )
        )
    if slices:
        return slices
    classes = ", ".join(label for label in values if label)
    reason = f"its mask shows no class of {classes} large enough ({slicing.smallest_mm2:g} mm²)"
    return [Refused(case.image, f"{case.image}: {reason} in a slice taken.", expected=True)]


def _unreadable(raw: Path, path: str, error: ImageError) -> Refused:
    # Errors may name other files by where they lie, and during ingest that is a passing folder.
    return Refused(path, error.problem.replace(f"{raw}/", ""))


def _by_priority(values: Values, healthy: str, leave_out: Sequence[int] | int) -> Values:
    """Order the classes for label_of_slice; what leaves out slices has no name and comes first."""
    ordered = sorted(values, key=lambda label: label == healthy)  # sorting keeps the other places
    first: Values = {"": leave_out} if leave_out else {}
    return {**first, **{label: values[label] for label in ordered}}


def _pattern(end: str) -> re.Pattern[str]:
    """Compile the end of a path: `above` is the folder before it, `star` what the star matches."""
    return re.compile("(?P<above>(.+/)?)" + re.escape(end).replace(r"\*", "(?P<star>[^/]+)"))


def _name(path: str, image: str) -> str:
    """Name a case: by its folder; by the file too where a folder holds many or there is none."""
    file = PurePosixPath(path)
    alone = "*" not in PurePosixPath(image).name and file.parent.name
    return str(file.parent if alone else file.parent / file.name.split(".nii")[0])
