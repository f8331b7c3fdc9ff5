"""A sheet of slices shows each with its caption, at its own greys."""

import numpy as np

from kidney.plots.style import sheet

GREY = np.full((4, 6), 90, np.uint8)
COLOUR = np.zeros((6, 6, 3), np.uint8)


def test_pictures_lie_in_rows_with_their_captions():
    figure = sheet([GREY, COLOUR, GREY], ["a", "b\nc", "d"], columns=2)
    assert len(figure.axes) == 4
    assert [cell.get_title(loc="left") for cell in figure.axes] == ["a", "b\nc", "d", ""]
    shown = [cell.get_images()[0].get_array() for cell in figure.axes[:3]]
    assert [picture.shape for picture in shown] == [(4, 6), (6, 6, 3), (4, 6)]
    assert not figure.axes[3].axison


def test_greys_are_never_stretched_to_a_pictures_own_range():
    (cell,) = sheet([GREY], ["a"], columns=1).axes
    assert cell.get_images()[0].get_clim() == (0, 255)


def test_no_picture_is_an_empty_sheet():
    (cell,) = sheet([], [], columns=1).axes
    assert not cell.axison
