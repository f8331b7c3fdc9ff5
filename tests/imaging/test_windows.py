import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kidney.errors import ConfigError
from kidney.imaging.windows import ABDOMEN, WINDOWS, Window, to_grey, window_named

INT16 = np.arange(-(1 << 15), 1 << 15).astype(np.int16)
WINDOW = st.builds(
    Window,
    center=st.floats(-5000, 5000).map(lambda value: round(value, 3)),
    width=st.floats(1.001, 10_000).map(lambda value: round(value, 3)),
)


def test_a_window_follows_the_standard():
    hu = np.array([-1000, -160, 40, 240, 3000], dtype=np.int16)
    assert to_grey(hu).tolist() == [0, 0, 128, 255, 255]
    # A window w HU wide has w grey levels, so its middle lies half a level beside the centre.
    narrow = Window(center=40, width=11)
    assert to_grey(np.array([34, 35, 40, 45]), narrow).tolist() == [0, 13, 140, 255]


@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)
def test_the_look_up_gives_what_the_formula_gives(window: Window):
    np.testing.assert_array_equal(to_grey(INT16, window), to_grey(INT16.astype(np.int64), window))


def test_a_turned_volume_is_shown_as_it_lies():
    volume = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    turned = volume[::-1].transpose(2, 0, 1)
    np.testing.assert_array_equal(to_grey(turned), to_grey(volume)[::-1].transpose(2, 0, 1))


@given(WINDOW)
def test_more_hu_are_never_darker(window: Window):
    grey = to_grey(INT16, window)
    assert grey.dtype == np.uint8
    assert (np.diff(grey.astype(int)) >= 0).all()


@given(WINDOW)
def test_a_window_is_read_back_from_its_text(window: Window):
    assert str(window_named(str(window))) == str(window)


def test_windows_are_named_or_written_as_width_and_level():
    assert window_named("abdomen") == Window(center=40, width=400) == ABDOMEN
    assert str(window_named("abdomen")) == "400/40"
    assert str(window_named("kidney")) == "250/80"
    assert str(window_named("bone")) == "2500/480"
    assert window_named("350/50") == Window(center=50, width=350)
    assert window_named("1500/-600.5") == Window(center=-600.5, width=1500)


@pytest.mark.parametrize(
    "text", ["", "Abdomen", "liver", "350", "350/", "/50", "350/50/1", "1/40", "0/40", "-9/40",
             "nan/40", "inf/40", "1e999/40", "400/40 ", "\u0663\u0665/\u0665"],
)  # fmt: skip
def test_other_windows_are_refused_with_the_names(text: str):
    with pytest.raises(ConfigError, match="abdomen, kidney, bone or lung, or WIDTH/LEVEL"):
        window_named(text)


@pytest.mark.parametrize("center", [float("nan"), float("inf")])
def test_a_window_without_a_middle_is_refused(center: float):
    with pytest.raises(ConfigError):
        Window(center=center, width=400)
