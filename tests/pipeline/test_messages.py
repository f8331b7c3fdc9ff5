"""What a user reads when something cannot work: one clear message, no traceback."""

import sys

from tests.pipeline.conftest import PHANTOM


def test_no_network_and_no_data_stops_with_the_three_ways_on(make_checkout):
    checkout = make_checkout()
    # Names that cannot be resolved stand for a machine without internet.
    offline = "data.default_source=kaggle:nobody/nothing"
    patch = checkout.folder / "sitecustomize.py"
    patch.write_text(
        "import socket\n"
        "def refuse(*args, **kwargs): raise OSError('no route to host')\n"
        "socket.create_connection = refuse\n"
    )
    done = checkout.run(sys.executable, "train.py", "model=resnet50", offline, check=False)
    message = done.stdout + done.stderr
    assert done.returncode == 1
    assert "Traceback" not in message
    for way in ("data.source=", "data=phantom", "model.weights=PATH", "model.weights=none"):
        assert way in message


def test_weights_out_of_reach_stop_with_the_ways_on(pipeline):
    done = pipeline.run(
        sys.executable,
        "train.py",
        *PHANTOM,
        "split.folds=3",
        "model.weights=none",
        check=False,
    )
    assert done.returncode == 1
    assert (done.stdout + done.stderr).startswith("Error executing job")
    assert "model.weights=hub or a file" in done.stdout + done.stderr
    assert "InstantiationException" not in done.stdout + done.stderr
    assert "Error in call to target" not in done.stdout + done.stderr


def test_a_misspelt_setting_is_named(pipeline):
    done = pipeline.run(sys.executable, "train.py", "model.learning_rat=1", check=False)
    assert done.returncode != 0
    assert "learning_rat" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
