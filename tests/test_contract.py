import pytest

from kidney.contract import window_contract
from kidney.errors import ConfigError


def test_the_window_of_training_data_is_told():
    window = window_contract("350/50")
    assert (window["center"], window["width"], window["unit"]) == (50, 350, "HU")
    assert window["why"] == "training slices were made with it"


def test_of_pictures_nobody_knows_the_window():
    window = window_contract(None)
    assert (window["center"], window["width"]) == (40, 400)
    assert "nobody knows" in window["why"]


def test_what_is_no_window_is_refused():
    with pytest.raises(ConfigError):
        window_contract("wide")
