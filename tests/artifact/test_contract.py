import pytest

from kidney.artifact.contract import window_contract
from kidney.errors import ConfigError


def test_the_window_of_training_data_is_told():
    window = window_contract("350/50")
    assert (window["center"], window["width"], window["unit"]) == (50, 350, "HU")
    assert window["why"] == "training slices were made with it"


def test_pictures_do_not_tell_their_window():
    window = window_contract(None)
    assert (window["center"], window["width"]) == (40, 400)
    assert "do not tell theirs" in window["why"]


def test_what_is_no_window_is_refused():
    with pytest.raises(ConfigError):
        window_contract("wide")
