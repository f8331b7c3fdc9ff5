"""KiTS23: 489 CT scans taken before surgery for a kidney tumour, with masks and histology.

Heller et al., The KiTS19 Challenge Data, arXiv 1904.00445, and The KiTS21 Challenge, arXiv
2307.01984; files and case list: github.com/neheller/kits23. One scan a patient, in the late
arterial or the nephrographic phase: every one was taken with contrast agent.
"""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from kidney.data.readers.interface import Refused, Task
from kidney.data.readers.volumes import SMALLEST_MM2, Case, Slicing, find_cases, read_case
from kidney.errors import ConfigError, DataError
from kidney.imaging.windows import window_named

CASE_LIST = "kits23.json"
KIDNEY, TUMOR, CYST = 1, 2, 3  # values of the masks
PRIORITY = (TUMOR, CYST, KIDNEY)
SUBTYPES = (
    "angiomyolipoma", "chromophobe_rcc", "clear_cell_papillary", "clear_cell_rcc", "cyst", "mest",
    "multilocular_cystic_rcc", "oncocytoma", "other", "papillary_rcc", "rcc_unclassified",
    "spindle_cell_neoplasm", "transitional_cell_carcinoma", "wilms_tumor",
)  # fmt: skip
_LABEL_BY: Mapping[str, tuple[int, ...] | tuple[str, ...]] = {
    "finding": PRIORITY,
    "subtype": SUBTYPES,
}


def read(
    raw: Path,
    *,
    classes: Mapping[str, Sequence[int] | Sequence[str]],
    label_by: str = "finding",
    window: str = "abdomen",
    smallest_mm2: float = SMALLEST_MM2,
    step_mm: float = 0.0,
) -> list[Task]:
    """List one task a case; the case's id is its scan and its patient.

    Args:
        raw: holds, at any depth, case_*/imaging.nii.gz, case_*/segmentation.nii.gz and
            kits23.json; some of the cases are enough.
        classes: by finding: class -> its values in the masks (1 kidney, 2 tumour, 3 cyst). What
            is in no class leaves out the slices of which it is the first finding.
            By subtype: class -> its values of tumor_histologic_subtype. Cases in no class are
            refused, as expected, and slices without tumour are left out.
        label_by: "finding" or "subtype".
        window: name or width/level in HU.
        smallest_mm2: the smallest area that counts as seen; see volumes.label_of_slice.
        step_mm: the least distance between slices to take; 0 takes all.

    Raises:
        ConfigError: classes that do not fit `label_by`, or an unknown window.
        DataError: the case list cannot be read, or is missing where subtypes are asked for.
    """
    class_of = _class_of(classes, label_by)
    slicing = Slicing(window_named(window), smallest_mm2, step_mm, phase="enhanced")
    subtypes = _subtypes(raw)
    if subtypes is None and label_by == "subtype":
        raise DataError(
            f"Expected {CASE_LIST} among the files of KiTS23, to tell the subtypes of the tumours, "
            "but there is none.",
            f"Put it there: it is dataset/{CASE_LIST} of github.com/neheller/kits23.",
        )
    cases, refused = find_cases(raw, "case_*/imaging.nii.gz", "case_*/segmentation.nii.gz")
    tasks: list[Task] = []
    for found in cases:
        case = Case(PurePosixPath(found.image).parent.name, found.image, found.mask)
        if subtypes is not None and case.name not in subtypes:
            refused.append(Refused(case.image, f"Expected {case.name} in {CASE_LIST}."))
            continue
        values = _by_priority(class_of)
        if label_by == "subtype":
            subtype = (subtypes or {})[case.name]
            label = class_of.get(subtype)
            if label is None:
                reason = f"{case.name} has the subtype {subtype or 'null'}, which is in no class."
                refused.append(Refused(case.image, reason, expected=True))
                continue
            values = {label: [TUMOR]}
        tasks.append(partial(read_case, raw, case, values, slicing))
    return [*tasks, lambda: refused] if refused else tasks


def _class_of(
    classes: Mapping[str, Sequence[int] | Sequence[str]], label_by: str
) -> dict[int | str | None, str]:
    """Turn `classes` round: mask value or subtype -> class."""
    if label_by not in _LABEL_BY:
        raise ConfigError(
            f"Expected data.read.label_by to be one of {list(_LABEL_BY)}, got {label_by!r}.",
            "Choose one of them: data=kits is by finding, data=kits_subtypes by subtype.",
        )
    known = _LABEL_BY[label_by]
    pairs = [
        (value, label)
        for label, values in classes.items()
        for value in ([values] if isinstance(values, int | str) else values)
    ]
    class_of: dict[int | str | None, str] = dict(pairs)
    if len(class_of) < len(pairs) or not set(class_of) <= set(known):
        raise ConfigError(
            f"Expected data.classes to assign values of {known}, each once at most, got "
            f"{dict(classes)}.",
            f"Correct data.classes; labels are by {label_by}.",
        )
    return class_of


def _by_priority(class_of: Mapping[int | str | None, str]) -> dict[str, list[int]]:
    """Order the classes for label_of_slice.

    A finding of no class goes under "", which leaves out its slices: they are not normal. The
    kidney itself is no finding: it is in nearly every slice that shows one.
    """
    values: dict[str, list[int]] = {}
    for number in PRIORITY:
        if number in class_of or number != KIDNEY:
            values.setdefault(class_of.get(number, ""), []).append(number)
    return values


def _subtypes(raw: Path) -> dict[str, str | None] | None:
    """Read the case list: case -> subtype, None where histology is missing; None without a list."""
    paths = sorted(raw.rglob(CASE_LIST))
    if not paths:
        return None
    try:
        cases = json.loads(paths[0].read_text(encoding="utf-8"))
        return {case["case_id"]: case["tumor_histologic_subtype"] for case in cases}
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"Expected {paths[0].relative_to(raw)} to list cases with case_id and "
            f"tumor_histologic_subtype, but: {error!r}.",
            f"Copy it again: it is dataset/{CASE_LIST} of github.com/neheller/kits23.",
        ) from error
