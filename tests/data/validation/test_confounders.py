"""Effect sizes agree with their definitions, and words agree with the counts."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kidney.data.validation.confounders import by_scan, confounders, cramers_v, epsilon
from tests.helpers.data_slices import manifest_of

SLICES = manifest_of({"normal": [3] * 6, "stone": [1] * 8})


def named(slices: pd.DataFrame, name: str):
    return next(found for found in confounders(slices) if found.name == name)


def test_what_never_varies_is_no_confounder() -> None:
    assert confounders(SLICES) == []


def test_a_property_that_tells_the_label_has_the_full_effect() -> None:
    slices = SLICES.assign(phase=SLICES["label"].map({"normal": "enhanced", "stone": "plain"}))
    found = named(slices, "phase")
    assert (found.effect, found.accuracy, found.majority) == (1.0, 1.0, 0.571)
    assert found.is_strong()
    assert found.sentence() == (
        "Contrast phase: normal is always enhanced (6 of 6 scans), stone is never enhanced "
        "(0 of 8 scans)."
    )


def test_scans_count_once_however_many_slices_they_have() -> None:
    slices = SLICES.copy()
    slices.loc[slices["scan"] == "normal-0000", "plane"] = "coronal"
    assert len(by_scan(slices)) == 14
    assert named(slices, "plane").counts == {
        "normal": {"axial": 5, "coronal": 1},
        "stone": {"axial": 8, "coronal": 0},
    }


def test_of_several_values_of_a_scan_the_most_frequent_counts() -> None:
    slices = SLICES.copy()
    slices.loc[slices["scan"] == "normal-0000", "phase"] = ["plain", "enhanced", "enhanced"]
    assert named(slices, "phase").counts["normal"] == {"enhanced": 1, "plain": 5}


def test_numbers_are_medians_of_a_scan() -> None:
    slices = SLICES.copy()
    slices.loc[slices["scan"] == "normal-0000", "soft_grey"] = [10.0, 20.0, 90.0]
    assert named(slices, "soft_grey").values["normal"][0] == 20.0


def test_unknown_values_are_left_out() -> None:
    slices = SLICES.copy()
    slices.loc[slices["label"] == "stone", "pixel_mm"] = np.nan
    assert all(found.name != "pixel_mm" for found in confounders(slices))


def test_the_strongest_comes_first() -> None:
    generator = np.random.default_rng(0)
    slices = SLICES.assign(
        soft_grey=(SLICES["label"] == "stone") * 50.0 + generator.normal(0, 1, len(SLICES)),
        body_share=generator.normal(0, 1, len(SLICES)),
    )
    effects = [found.effect for found in confounders(slices)]
    assert effects == sorted(effects, reverse=True)
    assert confounders(slices)[0].name == "soft_grey"


def test_cramers_v_of_a_textbook_table() -> None:
    # Bergsma 2013, eq. 7 and following, worked by hand: n = 100, phi^2 = 0.16, 2 x 2.
    counts = np.array([[35, 15], [15, 35]])
    phi = 0.16 - 1 / 99
    assert cramers_v(counts) == pytest.approx(np.sqrt(phi / (1 - 1 / 99)))


def test_epsilon_squared_is_one_minus_the_ratio_of_variances() -> None:
    labels = np.array(["a"] * 3 + ["b"] * 3, dtype=object)
    numbers = np.array([1.0, 2.0, 3.0, 5.0, 6.0, 7.0])
    # Within: variance 4 / 4 = 1; in all: variance 28 / 5.
    assert epsilon(labels, numbers) == pytest.approx(np.sqrt(1 - 5 / 28))


@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.floats(-1e3, 1e3)),
        min_size=4,
        max_size=40,
    )
)
def test_effects_lie_between_nothing_and_all_and_do_not_depend_on_names(rows) -> None:
    table = pd.DataFrame(rows, columns=["label", "category", "number"])
    counts = pd.crosstab(table["label"], table["category"]).to_numpy()
    assert 0 <= cramers_v(counts) <= 1
    assert cramers_v(counts) == pytest.approx(cramers_v(counts.T), abs=1e-6)
    labels, numbers = table["label"].to_numpy(object), table["number"].to_numpy()
    effect = epsilon(labels, numbers)
    assert 0 <= effect <= 1
    renamed = np.array([{"a": "q", "b": "r", "c": "p"}[label] for label in labels], dtype=object)
    assert epsilon(renamed, numbers) == pytest.approx(effect, abs=1e-6)


def test_independent_properties_have_no_effect_on_average() -> None:
    generator = np.random.default_rng(1)
    labels = np.repeat(np.array(["a", "b", "c", "d"], dtype=object), 20)
    drawn = [epsilon(labels, generator.normal(size=80)) ** 2 for _ in range(200)]
    tables = [
        cramers_v(pd.crosstab(labels, generator.integers(0, 2, 80)).to_numpy()) for _ in range(200)
    ]
    assert np.mean(drawn) < 0.03  # uncorrected eta squared would be 3 / 79 = 0.038 and never 0
    assert np.median(tables) < 0.1
