from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from kidney.pipeline.checkpoints import (
    _CALIBRATION_SLICES,
    _SLICES_PER_SCAN,
    ExportData,
    export_slices,
)

SCANS = 60
EACH = 7  # slices


@pytest.fixture(scope="module")
def data() -> SimpleNamespace:
    """Sixty scans of seven slices; a slice holds the number of its row, and its scan's label."""
    count = SCANS * EACH
    scan = np.repeat(np.arange(SCANS), EACH)
    part = np.array(["train", "train", "train", "val", "test"])[scan % 5]
    slices = pd.DataFrame({"scan": scan.astype(str), "height": 8, "width": 8})
    return SimpleNamespace(
        slices=slices,
        labels=(scan % 4).astype(np.int64),
        cache=[np.full((8, 8), row % 256, dtype=np.uint8) for row in range(count)],
        rows=lambda name: np.flatnonzero(part == name),
        part=part,
    )


@pytest.fixture(scope="module")
def parts(data: SimpleNamespace) -> ExportData:
    return export_slices(data)


def test_all_of_the_test_part_judges_in_its_own_order(data: SimpleNamespace, parts: ExportData):
    rows = np.flatnonzero(data.part == "test")
    assert [int(slice_[0, 0]) for slice_ in parts.test.slices] == [row % 256 for row in rows]
    np.testing.assert_array_equal(parts.test.labels, data.labels[rows])


def test_of_the_other_parts_a_few_slices_of_each_scan_are_enough(parts: ExportData):
    assert len(parts.validation.slices) == SCANS / 5 * _SLICES_PER_SCAN
    assert len(parts.training.slices) == _CALIBRATION_SLICES


def test_no_slice_of_the_test_part_is_fitted_to(data: SimpleNamespace):
    marked = SimpleNamespace(**vars(data))
    marked.cache = [np.full((1, 1), ["train", "val", "test"].index(name)) for name in data.part]
    parts = export_slices(marked)
    assert {int(slice_[0, 0]) for slice_ in parts.training.slices} == {0}
    assert {int(slice_[0, 0]) for slice_ in parts.validation.slices} == {1}


def test_the_same_slices_are_taken_each_time_and_the_labels_are_theirs(
    data: SimpleNamespace, parts: ExportData
):
    again = export_slices(data)
    for ours, theirs in zip(parts, again, strict=True):
        np.testing.assert_array_equal(ours.slices, theirs.slices)
    marked = SimpleNamespace(**vars(data))
    marked.cache = [np.full((1, 1), label) for label in data.labels]
    for part in export_slices(marked):
        assert [int(slice_[0, 0]) for slice_ in part.slices] == part.labels.tolist()
