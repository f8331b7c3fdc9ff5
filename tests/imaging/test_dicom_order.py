import math
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kidney.imaging.dicom import DicomHeader, read_dicom, read_header
from kidney.imaging.dicom_order import Series, group_series

HEADER = DicomHeader(
    modality="CT", image_type=("ORIGINAL", "PRIMARY", "AXIAL"), patient_id="P", study_uid="1",
    series_uid="1.1", sop_uid="1.1.1", instance=1, rows=512, columns=512, frames=1, plane="axial",
    position=0.0, acquisition=None,
    normal=(0.0, 0.0, 1.0), pixel_mm=0.8, aspect=1.0, left_first=False, slice_mm=5.0,
    contrast="", window=None,
)  # fmt: skip


def stack(folder: str, heights: list[float], **values: object) -> list[tuple[str, DicomHeader]]:
    """Return files named by their place in the list."""
    return [
        (
            f"{folder}/{number:03d}",
            replace(HEADER, position=height, **{"sop_uid": f"1.{number}.{ord(folder)}", **values}),
        )
        for number, height in enumerate(heights)
    ]


def only(headers: list[tuple[str, DicomHeader]]) -> Series:
    (series,), refused = group_series(headers)
    assert refused == []
    return series


@given(st.permutations(range(15)))
def test_the_order_of_the_files_never_matters(order: list[int]):
    files = [
        *stack("a", [9, 3, 6, 0]),
        *stack("b", [1, 2, 3], series_uid="1.2", patient_id="Q"),
        *stack("c", [5, 5, 5], series_uid="", study_uid=""),
        *stack("e", [7, 8], patient_id="Q"),
        *stack("f", [4], patient_id=""),
        *stack("d", [0, 1], modality="MR"),
    ]
    assert group_series([files[index] for index in order]) == group_series(files)


def test_slices_run_from_the_head_to_the_feet():
    series = only(stack("a", [0, 30, 10, 20]))
    assert series.names == ("a/001", "a/003", "a/002", "a/000")
    assert series.slice_mm == 10  # as the positions say, and not the headers
    assert (series.study_uid, series.series_uid, series.patient_id) == ("1", "1.1", "P")
    assert (series.plane, series.contrast) == ("axial", "")


def test_the_distance_is_the_median_gap():
    assert only(stack("a", [0, 2, 4, 6, 60])).slice_mm == 2  # a missing part changes nothing
    assert only(stack("a", [0, 2, 2, 2, 2, 4])).slice_mm == 2  # nor does a slice scanned twice
    assert math.isnan(only(stack("a", [0])).slice_mm)


def test_without_positions_the_instance_numbers_decide_then_the_names():
    files = stack("a", [0, 0, 0])
    numbers = (3, None, 1)
    files = [
        (name, replace(header, position=None, instance=number))
        for (name, header), number in zip(files, numbers, strict=True)
    ]
    series = only(files)
    assert series.names == ("a/002", "a/000", "a/001")
    assert math.isnan(series.slice_mm)
    nameless = [(name, replace(header, instance=None)) for name, header in files]
    assert only(nameless).names == ("a/000", "a/001", "a/002")


def test_one_series_may_lie_in_two_folders_and_two_in_one():
    scattered = [*stack("a", [0, 1]), *stack("b", [2, 3])]
    assert only(scattered).names == ("b/001", "b/000", "a/001", "a/000")
    mixed = [*stack("a", [0, 1]), *[(f"{n}x", h) for n, h in stack("a", [0, 1], series_uid="2")]]
    assert [len(series.names) for series in group_series(mixed)[0]] == [2, 2]


def test_where_series_have_no_uid_the_folder_takes_its_place():
    files = [*stack("a", [0, 1], series_uid=""), *stack("b", [0, 1], series_uid="")]
    assert [series.names for series in group_series(files)[0]] == [
        ("a/001", "a/000"), ("b/001", "b/000"),
    ]  # fmt: skip


def test_one_uid_for_two_patients_makes_two_series():
    files = [*stack("a", [0, 1]), *stack("b", [0, 1], patient_id="Q")]
    files += stack("c", [0], patient_id="")  # of either
    assert [(series.patient_id, len(series.names)) for series in group_series(files)[0]] == [
        ("P", 2), ("Q", 2), ("", 1),
    ]  # fmt: skip


def test_a_file_without_a_patient_belongs_to_the_only_one_of_its_series():
    series = only([*stack("a", [0, 1]), *stack("b", [2], patient_id="")])
    assert (series.patient_id, len(series.names)) == ("P", 3)


def test_contrast_and_views_are_those_of_the_whole_series():
    files = stack("a", [0, 1])
    files[1] = (files[1][0], replace(files[1][1], contrast="enhanced", plane="oblique"))
    assert (only(files).contrast, only(files).plane) == ("enhanced", "")


def test_what_is_no_slice_of_a_scan_is_refused_with_the_reason():
    series, refused = group_series([*stack("a", [0], unfit="a localizer"), *stack("d", [0])])
    assert [entry.names for entry in series] == [("d/000",)]
    assert refused == [("a/000", "a localizer")]


def test_a_scout_is_no_slice_and_a_reformat_is_a_stack():
    across = {"normal": (0.0, -1.0, 0.0), "plane": "coronal"}
    files = [*stack("a", [0, 1, 2, 3]), *stack("b", [0], **across)]
    series, refused = group_series(files)
    assert [entry.names for entry in series] == [tuple(f"a/{n:03d}" for n in (3, 2, 1, 0))]
    assert refused[0][0] == "b/000"
    series, refused = group_series([*files, *stack("c", [1, 2, 3], **across)])
    assert (len(series), refused) == (2, [])
    assert {entry.plane for entry in series} == {"axial", "coronal"}


def test_acquisitions_are_parted_where_they_overlap():
    first, after, again = (
        stack("a", [0, 1, 2], acquisition=1),
        stack("b", [3, 4, 5], acquisition=2),
        stack("c", [0.5, 1.5], acquisition=3),
    )
    assert len(group_series([*first, *after])[0]) == 1
    assert sorted(len(one.names) for one in group_series([*first, *again])[0]) == [2, 3]


def test_an_object_counts_once_unless_all_have_one_uid():
    again = stack("b", [0], sop_uid="1.0.97", instance=1)
    series, refused = group_series([*stack("a", [0, 1]), *again])
    assert (len(series[0].names), [name for name, _ in refused]) == (2, ["b/000"])
    assert len(only(stack("a", [0, 1, 2], sop_uid="1.2")).names) == 3


def test_a_real_series_is_one_scan_in_the_order_of_its_numbers(real_files: dict[str, bytes]):
    headers = {name: read_header(data, name) for name, data in real_files.items()}
    series = only(list(headers.items()))
    assert len(series.names) == 20
    numbers = [headers[name].instance for name in series.names]
    assert numbers in (sorted(numbers), sorted(numbers, reverse=True))
    assert series.slice_mm == 2
    # Neighbours look more alike than the ends do, so the order is that of the body.
    first, second, last = (
        read_dicom(real_files[series.names[index]], "x").hu.astype(float) for index in (0, 1, -1)
    )
    assert np.abs(first - second).mean() < np.abs(first - last).mean()


def test_phases_without_an_acquisition_number_are_stacks():
    one = [(f"{name}-{number}", replace(header, instance=number))
           for number, (name, header) in enumerate(stack("a", [0, 5, 10, 10, 5, 0]))]  # fmt: skip
    found, refused = group_series(one)
    assert refused == []
    assert [series.stack for series in found] == [1, 2]
    assert [[int(name[-1]) for name in series.names] for series in found] == [[2, 1, 0], [3, 4, 5]]


def test_one_acquisition_a_slice_is_one_stack():
    """Scanners that step and shoot count an acquisition for each slice."""
    files = [(name, replace(header, acquisition=number))
             for number, (name, header) in enumerate(stack("a", [0, 5, 10]))]  # fmt: skip
    assert only(files).doubts == ()


def test_gaps_repeats_and_tilt_are_told():
    assert "5 to 15 mm apart" in only(stack("a", [0, 5, 10, 15, 30])).doubts[0]
    assert only(stack("a", [0, 5, 5, 10])).doubts == ("1 slices lie where another one lies",)
    angle = math.radians(12)
    tilted = (0.0, -math.sin(angle), math.cos(angle))
    table = [
        (f"t/{z}", replace(HEADER, sop_uid=f"2.{z}", normal=tilted, corner=(-200.0, -200.0, z),
                           position=z * tilted[2] + 200 * math.sin(angle)))
        for z in (0.0, 5.0, 10.0)
    ]  # fmt: skip
    assert "tilted by 12 degrees" in only(table).doubts[0]
    reformat = [
        (name, replace(header, corner=tuple(header.position / tilted[2] * a for a in tilted)))
        for name, header in table
    ]
    assert only(reformat).doubts == ()  # it steps along its own normal
