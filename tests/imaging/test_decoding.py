"""Decoding in processes of limits: the same slices, and a bad file costs one request."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import RLELossless

from kidney.errors import ImageError, NoSliceError
from kidney.imaging.decoding import Decoders, Job
from kidney.imaging.dicom import read_dicom
from kidney.imaging.pictures import decode_picture
from kidney.imaging.windows import WINDOWS, to_grey
from tests.helpers import attacks
from tests.helpers.dicom_files import compressed
from tests.helpers.pictures import encode, gradient
from tests.helpers.upload_files import multi_frame, report, series

JOB = Job("it", 10_000_000, 1000, 10_000_000, WINDOWS["bone"], with_hu=True)
linux = pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are those of Linux")


@pytest.fixture(scope="module")
def decoders():
    decoders = Decoders(1)
    yield decoders
    decoders.close()


def decode(decoders, data, until=float("inf"), reserve=lambda _: None):
    return decoders.decode(data, JOB, until, reserve)


def child(decoders):
    decode(decoders, series()[0])
    return decoders._idle.queue[-1].child


@pytest.mark.parametrize("data", [series()[0], multi_frame(), compressed(series()[0], RLELossless)])
def test_a_dicom_file_is_what_it_is_here(decoders, data):
    taken = []
    decoded = decode(decoders, data, reserve=taken.append)
    expected = read_dicom(data, "it")
    np.testing.assert_array_equal(decoded.hu, expected.hu)
    np.testing.assert_array_equal(decoded.grey, to_grey(expected.hu, JOB.window))
    assert repr(decoded.header) == repr(expected.header)
    assert taken == [decoded.grey.nbytes, decoded.hu.nbytes]


def test_a_picture_is_what_it_is_here(decoders):
    data = encode(gradient(), "TIFF")
    decoded = decode(decoders, data)
    np.testing.assert_array_equal(decoded.grey, decode_picture(data)[None])
    assert decoded.hu is decoded.header is None


def test_errors_are_those_of_the_decoders(decoders):
    with pytest.raises(NoSliceError, match="without a picture") as caught:
        decode(decoders, report(series()[0]))
    assert caught.value.study_uid == read_dicom(series()[0], "it").header.study_uid


@linux
def test_a_file_that_fills_the_memory_is_refused_and_the_next_one_is_decoded(decoders):
    with pytest.raises(ImageError):
        decode(decoders, attacks.longer_runs(2048))
    decode(decoders, series()[0])


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGXCPU])
def test_a_decoder_that_ends_costs_one_file(decoders, number):
    process = child(decoders)
    os.kill(process.pid, signal.SIGSTOP)

    def reserve(_):
        raise AssertionError("it has answered")

    # Pending from before it goes on: it ends before it decodes.
    os.kill(process.pid, number)
    subprocess.Popen([sys.executable, "-c", f"import os; os.kill({process.pid}, 18)"])
    with pytest.raises(ImageError, match="took longer" if number == signal.SIGXCPU else "crashed"):
        ask_dying(decoders, reserve)
    decode(decoders, series()[0])


def ask_dying(decoders, reserve):
    """Ask a process that ends, whether or not that is known by then."""
    process = decoders._idle.get()
    process.child.poll = lambda: None
    decoders._idle.put(process)
    decode(decoders, series()[0], reserve=reserve)


def test_one_that_ended_while_it_was_idle_costs_nothing(decoders):
    process = child(decoders)
    process.kill()
    process.wait()
    decode(decoders, series()[0])


def test_a_decoder_that_does_not_answer_is_replaced(decoders):
    process = child(decoders)
    os.kill(process.pid, signal.SIGSTOP)
    with pytest.raises(TimeoutError):
        decode(decoders, series()[0], until=time.monotonic() + 0.1)
    assert process.poll() == -signal.SIGKILL
    decode(decoders, series()[0])


def test_a_result_that_is_not_wanted_replaces_it_too(decoders):
    with pytest.raises(ZeroDivisionError):
        decode(decoders, series()[0], reserve=lambda _: 1 / 0)
    decode(decoders, series()[0])


@linux
def test_computing_without_end_ends():
    code = (
        "from kidney.imaging import decoding; decoding._SPARE_SECONDS = 0\n"
        "decoding._limit(0, b'', 0, 0)\nwhile True: pass"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGXCPU


@linux
def test_a_process_knows_no_variable_and_no_file_of_the_server(monkeypatch):
    monkeypatch.setenv("KIDNEY_SESSION_SECRET", "of the server")
    decoders = Decoders(1)  # kept: a process ends with its connection
    pid = child(decoders).pid
    assert b"of the server" not in Path(f"/proc/{pid}/environ").read_bytes()
    loaded = Path(f"/proc/{pid}/maps").read_text()
    assert "onnxruntime" not in loaded
    assert "torch" not in loaded
    files = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()}
    assert {file.partition(":")[0] for file in files} == {"/dev/null", "socket"}
    assert sum(file.startswith("socket") for file in files) == 1


@linux
def test_a_process_drains_with_the_server_and_ends_with_it():
    decoders = Decoders(1)
    process = child(decoders)
    process.send_signal(signal.SIGTERM)
    decode(decoders, series()[0])
    assert process.poll() is None
    decoders._idle.queue[-1]._connection.close()
    assert process.wait(60) == 0
