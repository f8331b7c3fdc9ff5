"""CT volumes with masks, as NIfTI files: the mask says what a slice shows."""

import hashlib
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


def read(
    raw: Path,
    *,
    image: str,
    mask: str,
    values: Values,
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
        window: name or width/level in HU.
        smallest_mm2: the smallest area that counts as seen.
        step_mm: the least distance between slices to take; 0 takes all. Slices 0.5 mm apart are
            nearly the same picture many times.
        phase: "enhanced" or "plain" where that is known of the whole set.

    Returns:
        Tasks whose slices have their case's name as scan and as patient.

    Raises:
        ConfigError: patterns that cannot pair files, or an unknown window.
    """
    cases, refused = find_cases(raw, image, mask)
    shown = window_named(window)
    tasks: list[Task] = [lambda: refused] if refused else []
    for case in cases:
        tasks.append(
            partial(
                read_case,
                raw,
                case,
                values,
                window=shown,
                smallest_mm2=smallest_mm2,
                step_mm=step_mm,
                phase=phase,
            )
        )
    return tasks


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


def read_case(
    raw: Path,
    case: Case,
    values: Values,
    *,
    window: Window,
    smallest_mm2: float,
    step_mm: float,
    phase: str,
) -> list[RawSlice | Refused]:
    """Read the slices of a case that have a label, head first.

    Args:
        raw: the raw folder.
        case: one of find_cases.
        values: see label_of_slice.
        window: through which the slices are shown.
        smallest_mm2: see label_of_slice.
        step_mm: see read.
        phase: what the slices say of it.

    Returns:
        The slices, whose frame counts from the head; or the one file that cannot be read.
    """
    try:
        volume = read_volume(raw / case.image, case.image)
    except ImageError as error:
        return [Refused(case.image, error.problem)]
    try:
        masks = read_mask(raw / case.mask, raw / case.image, case.mask).voxels
    except ImageError as error:
        return [Refused(case.mask, error.problem)]
    slice_mm, row_mm, column_mm = volume.spacing
    slices: list[RawSlice | Refused] = []
    step = max(1, round(step_mm / slice_mm))
    for frame, mask in enumerate(masks):
        if frame % step:
            continue
        label = label_of_slice(mask, values, row_mm * column_mm, smallest_mm2)
        if not label:
            continue
        pixels = to_grey(volume.voxels[frame], window)
        slices.append(
            RawSlice(
                path=case.image,
                label=label,
                pixels=pixels,
                sha256=hashlib.sha256(pixels.tobytes()).hexdigest(),
                frame=frame,
                scan=case.name,
                patient=case.name,
                phase=phase,
                view="axial",  # read_volume turns every volume so
                window=str(window),
                pixel_mm=round(row_mm, 4),  # NIfTI holds 32-bit floats
                slice_mm=round(slice_mm * step, 4),
            )
        )
    return slices


def _pattern(end: str) -> re.Pattern[str]:
    """Compile the end of a path: `above` is the folder before it, `star` what the star matches."""
    return re.compile("(?P<above>(.+/)?)" + re.escape(end).replace(r"\*", "(?P<star>[^/]+)"))


def _name(path: str, image: str) -> str:
    """Name a case: by its folder; by the file too where a folder holds many or there is none."""
    file = PurePosixPath(path)
    alone = "*" not in PurePosixPath(image).name and file.parent.name
    return str(file.parent if alone else file.parent / file.name.split(".nii")[0])
