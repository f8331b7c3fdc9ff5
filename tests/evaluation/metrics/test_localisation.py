"""Where evidence lies, against lesions whose place is known."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from sklearn.metrics import jaccard_score

from kidney.evaluation.metrics.localisation import (
    CUTS,
    enlarge,
    localisation_figures,
    place,
    relative,
)

MAPS = arrays(np.float32, (5, 7), elements=st.floats(-4, 4, width=32))


def disc(shape: tuple[int, int], row: float, column: float, radius: float) -> np.ndarray:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


@given(MAPS)
@settings(max_examples=30, deadline=None)
def test_a_map_is_enlarged_as_pillow_does_it_for_the_overlay(evidence):
    whole = np.asarray(Image.fromarray(evidence).resize((84, 60), Image.Resampling.BILINEAR))
    assert np.allclose(enlarge(evidence, (60, 84)), whole, atol=1e-5)
    part = np.asarray(Image.fromarray(evidence).resize((28, 20), Image.Resampling.BILINEAR))
    laid = enlarge(evidence, (60, 84), (10, 50, 30, 78))
    assert np.allclose(laid[10:30, 50:78], part, atol=1e-5)
    outside = np.ones((60, 84), dtype=bool)
    outside[10:30, 50:78] = False
    assert (laid[outside] == -np.inf).all()


def test_a_region_that_leaves_the_picture_shows_only_what_lies_in_it():
    evidence = np.arange(16.0).reshape(4, 4)
    whole = enlarge(evidence, (80, 80), (0, 0, 80, 80))
    assert np.allclose(enlarge(evidence, (60, 50), (-20, -30, 60, 50)), whole[20:, 30:])


@given(
    row=st.integers(1, 10), column=st.integers(1, 10), top=st.floats(-30, 30), left=st.floats(0, 40)
)
@settings(max_examples=60, deadline=None)
def test_a_peak_planted_in_the_lesion_is_found_there(row, column, top, left):
    evidence = np.full((12, 12), -1.0)
    evidence[row, column] = 3.0
    region = (top, left, top + 150, left + 150)
    centre = (top + (row + 0.5) * 12.5 - 0.5, left + (column + 0.5) * 12.5 - 0.5)
    assume(0 < centre[0] < 199 and 0 < centre[1] < 219)
    lesion = disc((200, 220), *centre, 6)
    found = place(enlarge(evidence, (200, 220), region), lesion)
    assert found.inside
    assert found.distance == 0
    assert np.hypot(found.row - centre[0], found.column - centre[1]) <= 1.5
    covered = (enlarge(evidence, (200, 220), region) > -np.inf).sum()
    assert found.chance == pytest.approx(lesion.sum() / covered)


def test_the_distance_is_that_to_the_nearest_pixel_of_the_lesion():
    evidence = np.zeros((40, 40))
    evidence[10, 30] = 1
    found = place(evidence, disc((40, 40), 10, 10, 5))
    assert (found.row, found.column, found.inside) == (10, 30, False)
    assert found.distance == 15


def test_a_perfect_map_overlaps_wholly_and_its_opposite_hardly():
    lesion = disc((60, 60), 30, 20, 9)
    perfect = place(lesion.astype(float), lesion)
    assert perfect.best_overlap == 1
    assert (perfect.overlaps == 1).all()
    assert perfect.share_inside == 1
    opposite = place(1.0 - lesion, lesion)
    assert opposite.share_inside == 0
    assert (opposite.overlaps == 0).all()
    assert opposite.best_overlap == pytest.approx(lesion.mean())  # by marking everything


@given(MAPS, st.integers(0, 19), st.integers(0, 27))
@settings(max_examples=25, deadline=None)
def test_overlaps_are_those_of_scikit_learn_and_never_beat_the_best(evidence, row, column):
    lesion = disc((20, 28), row, column, 5)
    laid = enlarge(evidence, (20, 28))
    found = place(laid, lesion)
    for cut, overlap in zip(CUTS, found.overlaps, strict=True):
        marked = (laid >= cut * laid.max()) & (laid > 0)
        assert overlap == pytest.approx(jaccard_score(lesion.ravel(), marked.ravel()))
    marked = laid >= np.unique(laid)[:, None, None]
    every = (marked & lesion).sum(axis=(1, 2)) / (marked | lesion).sum(axis=(1, 2))
    assert found.best_overlap == pytest.approx(every.max())
    assert max(found.overlaps) <= found.best_overlap + 1e-12
    assert 0 < found.best_overlap <= 1
    assert np.isnan(found.share_inside) or 0 <= found.share_inside <= 1


def test_a_map_without_positive_evidence_marks_nothing():
    found = place(np.full((16, 16), -1.0), disc((16, 16), 8, 8, 3))
    assert (found.overlaps == 0).all()
    assert np.isnan(found.share_inside)


def test_an_empty_lesion_is_refused():
    with pytest.raises(ValueError, match="mask is empty"):
        place(np.zeros((16, 16)), np.zeros((16, 16), dtype=bool))


@given(
    arrays(np.float64, (4, 3, 3), elements=st.floats(-4, 4)),
    st.floats(-4, 4),
    st.sampled_from([None, 0]),
)
def test_evidence_that_all_classes_share_does_not_count(evidence, common, normal):
    shifted = relative(evidence + common, 2, normal)
    assert np.allclose(shifted, relative(evidence, 2, normal), atol=1e-9)


def test_the_target_is_compared_with_normal_where_there_is_such_a_class():
    evidence = np.array([[[1.0]], [[5.0]], [[9.0]]])
    assert relative(evidence, 2, 0) == [[8.0]]
    assert relative(evidence, 2, None) == [[4.0]]


def test_figures_are_means_over_slices_with_intervals_over_patients():
    hit = np.zeros((40, 40))
    hit[20, 20] = 1
    miss = np.roll(hit, 15, axis=0)
    lesion = disc((40, 40), 20, 20, 4)
    placed = [place(values, lesion) for values in (hit, hit, hit, miss)]
    labels = np.array(["tumor", "tumor", "tumor", "cyst"])
    figures = localisation_figures(placed, labels, np.array(["a", "a", "b", "c"]))
    assert figures["peak_inside"]["value"] == 0.75
    assert figures["peak_inside_tumor"] == {"value": 1, "low": None, "high": None}
    assert figures["peak_inside_cyst"]["value"] == 0
    assert figures["peak_distance"]["value"] == pytest.approx(11 / 4)
    assert figures["chance"]["value"] == pytest.approx(lesion.mean())
    assert figures["iou"]["value"] <= figures["iou_best"]["value"]


def test_one_threshold_for_all_is_chosen_over_the_slices_together():
    lesion = disc((40, 40), 20, 20, 6)
    wide = lesion * 0.3 + disc((40, 40), 20, 20, 2) * 0.7  # best cut at 0.3 of its peak and below
    tight = lesion * 0.5 + 0.45  # best cut above 0.48
    figures = localisation_figures(
        [place(values, lesion) for values in (wide, tight)],
        np.array(["tumor"] * 2),
        np.array(["a", "b"]),
    )
    assert figures["iou_best"]["value"] == 1
    assert figures["iou"]["value"] < 0.7
