"""Readers of the sets that lesions are learned from: files -> slices with what is known of them.

Each takes the name of the set, its files by role and which patients are wanted, and reads one slice
after the other. YAML names a reader and gives its settings as keywords.
"""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kidney.data.lesions.records import (
    ALL_KNOWN,
    CHANNELS,
    CYST,
    KIDNEY,
    STONE,
    TUMOR,
    Greys,
    Known,
    SliceRecord,
    SourceSlice,
    Wanted,
)
from kidney.data.phantom.scan import CLASSES, generate_scan
from kidney.data.phantom.thorax import generate_thorax
from kidney.data.readers.volumes import find_cases
from kidney.errors import DataError, ImageError
from kidney.imaging.dicom import read_dicom
from kidney.imaging.nifti import read_mask, read_volume
from kidney.imaging.pictures import PICTURE_SUFFIXES, decode_picture

Files = Mapping[str, tuple[Path, ...]]

_NAME = re.compile(r"(?P<patient>.+?)_(slice_)?\d+")  # case_00025_slice_64, 10036_142
_NUMBER = re.compile(r"\((\d+)\)")
_GAP = 8  # numbers further apart begin another patient; neighbours of one scan may be missing
_HALF = 128  # of a colour: masks are pure, but for what resizing left at their rims
_PHANTOM_SEED, _THORAX_SEED = 700_000, 800_000  # of patients that no data set of the phantom has


def masked_slices(
    source: str,
    files: Files,
    wanted: Wanted,
    *,
    values: Mapping[str, int],
    greys: Greys = "hu_0_255",
    known: Mapping[str, Known] | None = None,
    patients: Mapping[str, str] | None = None,
    undrawn_kidneys: Sequence[str] = (),
) -> Iterator[SourceSlice]:
    """Read images/NAME.png beside masks/NAME.png; NAME is PATIENT_NUMBER or PATIENT_slice_NUMBER.

    The pool is "tumor", "kidney" or "free", by what the mask shows.

    Args:
        source: see `Read`.
        files: "slices".
        wanted: see `Read`.
        values: channel -> its value in masks of grey; others are background. In masks of colours
            kidneys are blue and tumours red.
        greys: of the slices.
        known: channel -> where it is known, if not at all places.
        patients: name in the file -> patient, for those that another set calls by another name.
        undrawn_kidneys: names of slices whose kidneys nobody drew, although there are some.

    Raises:
        DataError: a mask is missing, broken or of another size.
    """
    where = _known(known or {})
    for path in _pictures(files, "slices", "images"):
        match = _NAME.fullmatch(path.stem)
        patient = match["patient"] if match else path.stem
        patient = f"{source}-{(patients or {}).get(patient, patient)}"
        if not wanted(patient):
            continue
        pixels = decode_picture(path.read_bytes(), path.name)
        mask = _labels(path.parents[1] / "masks" / f"{path.stem}.png", values, pixels.shape)
        kidney: Known = "drawn" if path.stem in undrawn_kidneys else where[0]
        record = SliceRecord(source, _pool(mask), patient, path.name, greys, (kidney, *where[1:]))
        yield SourceSlice(record, pixels, mask)


def class_folders(
    source: str, files: Files, wanted: Wanted, *, classes: Mapping[str, str]
) -> Iterator[SourceSlice]:
    """Read the public classification set: a folder a class, and for some stones a mask.

    The label says which finding is somewhere, and which are not: a slice of "cyst" may hold a stone
    as well, but is not one of the tumours. The pool is the label, and "stone_drawn" where there is
    a mask.

    Args:
        source: see `Read`.
        files: "slices"; "patients", a table of file and patient, else runs of numbers are patients;
            "stone_masks", masks/Stone- (NUMBER).png with the value 4, and more slices in images/.
        wanted: see `Read`.
        classes: one of normal, cyst, tumor, stone -> its folder.

    Raises:
        DataError: a slice without a patient in the table, or a broken mask.
    """
    label_of = {folder: label for label, folder in classes.items()}
    found = [
        (label_of[path.parent.name], int(match[1]), path)
        for path in _pictures(files, "slices", "*")
        if path.parent.name in label_of and (match := _NUMBER.search(path.stem))
    ]
    found.sort(key=lambda one: one[:2])
    patients = _patients(files, found)
    masks = _numbered(files.get("stone_masks", ()), "masks")
    for label, number, path in found:
        name = f"{path.parent.name}/{path.name}"
        patient = f"{source}-{patients[name]}"
        if wanted(patient):
            drawn = masks.get(number) if label == "stone" else None
            yield _classified(source, label, patient, name, path, drawn)
    run, last = 0, -_GAP - 1
    for number, path in sorted(_numbered(files.get("stone_masks", ()), "images").items()):
        run, last = run + (number > last + _GAP), number
        patient = f"{source}-further-stone-{run}"
        if wanted(patient):
            yield _classified(source, "stone", patient, path.name, path, masks[number])


def _numbered(folders: Sequence[Path], name: str) -> dict[int, Path]:
    """Return the files NAME/... (NUMBER).SUFFIX by number."""
    paths = [path for folder in folders for path in folder.rglob(f"{name}/*")]
    return {int(match[1]): path for path in paths if (match := _NUMBER.search(path.stem))}


def _classified(
    source: str, label: str, patient: str, name: str, path: Path, stones: Path | None
) -> SourceSlice:
    """Return a slice with the label of its folder and, where there is a mask, its stones drawn."""
    pixels = decode_picture(path.read_bytes(), path.name)
    mask = np.zeros(pixels.shape, np.uint8)
    if stones is not None:
        with Image.open(stones) as picture:
            drawn = np.asarray(picture.resize(pixels.shape[::-1], Image.Resampling.NEAREST))
        mask[(drawn if drawn.ndim == 2 else drawn[..., 0]) == STONE] = STONE
    unknown = {
        "normal": (),
        "cyst": ("cyst", "stone"),
        "tumor": ("tumor", "cyst", "stone"),
        "stone": ("cyst",) if stones is not None else ("cyst", "stone"),
    }[label]
    known: dict[str, Known] = {"kidney": "drawn", **dict.fromkeys(unknown, "none")}
    present = () if label == "normal" or stones is not None else (label,)
    pool = "stone_drawn" if stones is not None else label
    record = SliceRecord(source, pool, patient, name, "picture", _known(known), label, present)
    return SourceSlice(record, pixels, mask)


def _patients(files: Files, found: Sequence[tuple[str, int, Path]]) -> dict[str, str]:
    """Return the patient of each file FOLDER/NAME."""
    names = {path: f"{path.parent.name}/{path.name}" for _, _, path in found}
    if "patients" not in files:  # consecutive numbers are neighbouring slices of one scan
        patients, run, before = {}, 0, ("", 0)
        for label, number, path in found:
            run += (label, number) != (before[0], before[1] + 1)
            patients[names[path]] = f"{label}-run-{run}"
            before = (label, number)
        return patients
    (table,) = files["patients"]
    with table.open(newline="", encoding="utf-8") as file:
        patients = {row["file"]: row["patient"] for row in csv.DictReader(file)}
    if missing := sorted(set(names.values()) - set(patients)):
        raise DataError(
            f"Expected a patient for each slice in {table.name}, but {len(missing)} have none, for "
            f"example {missing[0]}.",
            "Add them, or leave out the role patients: runs of numbers are patients then.",
        )
    return patients


def whole_series(
    source: str, files: Files, wanted: Wanted, *, annotation: str
) -> Iterator[SourceSlice]:
    """Read whole series of patients, of which a table says which slices show a kidney.

    Slices without a kidney are of the pool "free": nothing is there, at all places. All others are
    of the pool "unlabelled": a report that names a finding of the patient says nothing of a slice.

    Args:
        source: see `Read`.
        files: "slices", with PATIENT/NUMBER.jpg.
        wanted: see `Read`.
        annotation: path of a table of patient, slice and kidney, which is 0, part or 1; relative to
            the repository.
    """
    kidney = {}
    table = Path(__file__).parents[3] / annotation
    with table.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            kidney[row["patient"], int(row["slice"])] = row["kidney"]
    for path in _pictures(files, "slices", "*"):
        patient = f"{source}-{path.parent.name}"
        if not path.stem.isdigit() or not wanted(patient):
            continue
        free = kidney.get((path.parent.name, int(path.stem))) == "0"
        pixels = decode_picture(path.read_bytes(), path.name)
        record = SliceRecord(
            source, "free" if free else "unlabelled", patient, f"{path.parent.name}/{path.name}",
            "picture", ALL_KNOWN if free else _known(dict.fromkeys(CHANNELS, "none")),
        )  # fmt: skip
        yield SourceSlice(record, pixels, np.zeros(pixels.shape, np.uint8))


def kidney_free_dicom(source: str, files: Files, wanted: Wanted) -> Iterator[SourceSlice]:
    """Read a DICOM series that shows no kidney, pool "free"; the whole set is one patient."""
    patient = f"{source}-1"
    if not wanted(patient):
        return
    for path in sorted(path for folder in files["slices"] for path in folder.rglob("*")):
        if not path.is_file():
            continue
        try:
            frames = read_dicom(path, path.name).hu
        except ImageError as error:
            print(f"Left out: {error.problem}")
            continue
        for frame, hu in enumerate(frames):
            record = SliceRecord(source, "free", patient, f"{path.name}#{frame}", "hu")
            yield SourceSlice(record, hu, np.zeros(hu.shape, np.uint8))


def phantom(
    source: str,
    files: Files,
    wanted: Wanted,
    *,
    scans: int,
    slices: int = 2,
    size: int = 384,
    labelled: bool = False,
) -> Iterator[SourceSlice]:
    """Draw phantoms and a chest for every sixth of them, pool "thorax".

    The pool of a phantom is "kidney" or, where they are labelled, its finding.

    Args:
        source: see `Read`.
        files: none.
        wanted: see `Read`.
        scans: how many phantoms; multiples of 32 give each finding each phase equally often.
        slices: of each.
        size: rows and columns.
        labelled: whether the finding is a label too, for class heads and figures.
    """
    assert not files
    for number in range(scans):
        patient = f"{source}-{number}"
        if wanted(patient):
            # The phase goes by the remainder by 4: each round of classes begins with another one.
            label = CLASSES[(number + number // 8 + (number // 4) % 2) % len(CLASSES)]
            scan = generate_scan(_PHANTOM_SEED + number, label, size, slices)
            for at, (hu, mask) in enumerate(zip(scan.hu, scan.masks, strict=True)):
                record = SliceRecord(
                    source, label if labelled else "kidney", patient, f"{label}-{number}#{at}",
                    "hu", label=label if labelled else "",
                )  # fmt: skip
                yield SourceSlice(record, hu, mask)
    for number in range(scans // 6):
        patient = f"{source}-thorax-{number}"
        if wanted(patient):
            for at, hu in enumerate(generate_thorax(_THORAX_SEED + number, size, slices)):
                record = SliceRecord(source, "thorax", patient, f"thorax-{number}#{at}", "hu")
                yield SourceSlice(record, hu, np.zeros(hu.shape, np.uint8))


def volumes(
    source: str,
    files: Files,
    wanted: Wanted,
    *,
    values: Mapping[str, int],
    image: str = "case_*/imaging.nii.gz",
    mask: str = "case_*/segmentation.nii.gz",
    known: Mapping[str, Known] | None = None,
    step_mm: float = 0.0,
    free_every: int = 4,
) -> Iterator[SourceSlice]:
    """Read CT volumes with masks, such as KiTS23: one case in memory at a time.

    The pool is "tumor", "cyst", "kidney" or "free", by what the slice's mask shows.

    Args:
        source: see `Read`.
        files: "cases".
        wanted: see `Read`.
        values: channel -> its value in the masks.
        image: end of a volume's path; see `kidney.data.readers.volumes.find_cases`.
        mask: end of the path of its mask.
        known: channel -> where it is known, if not at all places.
        step_mm: the least distance between slices to take; 0 takes all.
        free_every: of the slices without a kidney one of so many is taken.

    Raises:
        DataError: a volume or mask is missing or cannot be read.
    """
    where = _known(known or {})
    for folder in files["cases"]:
        cases, refused = find_cases(folder, image, mask)
        if refused and not refused[0].expected:
            raise DataError(refused[0].reason, "Add the mask, or remove the case.")
        for case in cases:
            patient = f"{source}-{Path(case.image).parent.name}"
            if not wanted(patient):
                continue
            try:
                volume = read_volume(folder / case.image, case.image)
                drawn = read_mask(folder / case.mask, folder / case.image, case.mask).voxels
            except ImageError as error:
                raise DataError(error.problem, "Download the case again, or remove it.") from error
            step = max(1, int(np.ceil(step_mm / volume.spacing[0] - 1e-3)))
            free = 0
            for frame in range(0, len(drawn), step):
                labels = _renumbered(drawn[frame], values)
                pool = _pool(labels)
                free += pool == "free"
                if pool != "free" or free % free_every == 1 % free_every:
                    path = f"{case.image}#{frame}"
                    record = SliceRecord(source, pool, patient, path, "hu", where)
                    yield SourceSlice(record, np.asarray(volume.voxels[frame], np.int16), labels)


def _known(known: Mapping[str, Known]) -> tuple[Known, Known, Known, Known]:
    kidney, tumor, cyst, stone = (known.get(channel, "all") for channel in CHANNELS)
    return kidney, tumor, cyst, stone


def _pool(mask: NDArray[np.uint8]) -> str:
    for value, pool in ((TUMOR, "tumor"), (CYST, "cyst"), (KIDNEY, "kidney")):
        if (mask == value).any():
            return pool
    return "free"


def _pictures(files: Files, role: str, folder: str) -> list[Path]:
    """List the pictures below the folders of a role whose own folder has a name like `folder`."""
    found = [
        path
        for above in files[role]
        for path in sorted(above.rglob(f"{folder}/*"))
        if path.suffix.lower() in PICTURE_SUFFIXES
    ]
    if not found:
        raise DataError(
            f"Expected pictures in folders {folder!r} of {', '.join(p.name for p in files[role])}, "
            "but found none.",
            "Give the archive as it was published.",
        )
    # The same file may be listed once for each folder above it.
    return [path for path, _ in groupby(sorted(set(found)))]


def _renumbered(mask: NDArray[np.generic], values: Mapping[str, int]) -> NDArray[np.uint8]:
    labels = np.zeros(mask.shape, np.uint8)
    for channel, value in values.items():
        labels[mask == value] = CHANNELS.index(channel) + 1
    return labels


def _labels(path: Path, values: Mapping[str, int], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Read a mask of greys or colours as uint8 (H, W) of the values of this project."""
    try:
        with Image.open(path) as picture:
            pixels = np.asarray(picture)
    except OSError as error:
        raise DataError(
            f"Expected a mask at {path}, but: {error}.",
            "Keep each mask under the name of its slice, or leave out the slice.",
        ) from error
    grey = pixels.ndim == 2 or not (pixels[..., 0] != pixels[..., 2]).any()
    if grey and pixels.max(initial=0) < _HALF:
        labels = _renumbered(pixels if pixels.ndim == 2 else pixels[..., 0], values)
    else:
        labels = np.zeros(pixels.shape[:2], np.uint8)
        labels[pixels[..., 2] > _HALF] = KIDNEY
        labels[pixels[..., 0] > _HALF] = TUMOR
    if labels.shape != shape:
        raise DataError(
            f"Expected the mask {path.name} to have the {shape} pixels of its slice, but it has "
            f"{labels.shape}.",
            "Draw masks on the slices as they are, or resize both alike.",
        )
    return labels
