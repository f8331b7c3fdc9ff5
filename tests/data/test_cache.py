"""The cache holds the very pixels of the raw files, whole or not at all."""

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from kidney.data.cache import Decoded, open_cache, open_thumbnails, write_cache
from kidney.data.manifest import read_manifest
from kidney.errors import DataError
from kidney.imaging.appearance import thumbnail
from kidney.imaging.pictures import decode_picture
from tests.helpers.data_slices import content, scan, take


def decoded(seed: int) -> Decoded:
    row = {"path": "a.png", "frame": 0, "window": "", "sha256": f"{seed:064x}"}
    return row, scan(seed)[0], thumbnail(scan(seed)[0])


def test_every_slice_is_the_decoded_file(source: Path, tmp_path: Path) -> None:
    # Another size and another mode among the rest, so that a wrong offset shows.
    odd = np.stack([scan(9, 1, width=40, height=70)[0]] * 3, axis=2)
    Image.fromarray(odd).save(source / "Cyst" / "Cyst- (5).png")
    take(tmp_path / "data", source)
    slices = read_manifest(tmp_path / "data")
    cache = open_cache(tmp_path / "data", slices)
    assert len(cache) == 48
    for row, path in enumerate(slices["path"]):
        expected = decode_picture((source / path).read_bytes())
        np.testing.assert_array_equal(cache[row], expected, strict=True)


def test_slices_are_read_only(data: Path) -> None:
    slice_ = open_cache(data, read_manifest(data))[0]
    with pytest.raises(ValueError, match="read-only"):
        slice_[0, 0] = 1


def test_a_cache_travels_to_a_worker_as_a_path(data: Path) -> None:
    cache = open_cache(data, read_manifest(data))
    sent = pickle.dumps(cache)
    assert len(sent) < 48 * 64 * 48 / 50, "pixels were pickled"
    np.testing.assert_array_equal(pickle.loads(sent)[47], cache[47])


@pytest.mark.parametrize(
    ("kind", "reopen"), [("slices", open_cache), ("thumbnails", open_thumbnails)]
)
def test_a_missing_cache_is_made_again(
    data: Path, kind: str, reopen: Callable[[Path, pd.DataFrame], object]
) -> None:
    before = content(data)
    (path,) = data.glob(f"{kind}-*.u8")
    path.unlink()
    reopen(data, read_manifest(data))
    assert content(data) == before


def test_thumbnails_are_those_of_the_slices(data: Path) -> None:
    slices = read_manifest(data)
    cache, thumbnails = open_cache(data, slices), open_thumbnails(data, slices)
    assert thumbnails.shape == (48, 96, 96)
    for row in range(48):
        np.testing.assert_array_equal(thumbnails[row], thumbnail(cache[row]))


@pytest.mark.parametrize("change", ["changed", "gone"])
def test_a_cache_is_not_made_of_other_files(data: Path, change: str) -> None:
    (path,) = data.glob("slices-*.u8")
    path.unlink()
    slices = read_manifest(data)
    raw = data / "raw" / slices["path"][30]
    if change == "gone":
        raw.unlink()
    else:
        raw.write_bytes((data / "raw" / slices["path"][0]).read_bytes())
    with pytest.raises(DataError, match="gone or changed") as caught:
        open_cache(data, slices)
    assert slices["path"][30] in caught.value.problem
    assert not list(data.glob("*slices*"))


def test_the_same_slices_in_another_order_are_another_cache(data: Path) -> None:
    slices = read_manifest(data)
    backwards = slices[::-1].reset_index(drop=True)
    np.testing.assert_array_equal(open_cache(data, backwards)[0], open_cache(data, slices)[47])


def test_a_cache_that_is_cut_off_leaves_the_old_one_and_nothing_half_written(data: Path) -> None:
    before = content(data)

    def cut_off() -> Iterator[Decoded]:
        yield decoded(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_cache(data, cut_off())
    assert content(data) == before


def test_a_cut_off_first_cache_leaves_nothing(tmp_path: Path) -> None:
    def cut_off() -> Iterator[Decoded]:
        yield decoded(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_cache(tmp_path, cut_off())
    assert not any(tmp_path.iterdir())


def test_a_new_cache_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    for seed in (1, 2):
        write_cache(tmp_path, [decoded(seed)])
    (slices,), (thumbnails,) = tmp_path.glob("slices-*"), tmp_path.glob("thumbnails-*")
    assert slices.read_bytes() == scan(2)[0].tobytes()
    assert thumbnails.read_bytes() == thumbnail(scan(2)[0]).tobytes()
    assert len(list(tmp_path.iterdir())) == 2
