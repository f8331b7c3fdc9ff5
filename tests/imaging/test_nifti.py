import gzip
import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kidney.data.phantom.files import write_nifti
from kidney.data.phantom.scan import generate_scan
from kidney.errors import ImageError, ImageSizeError, ImageTypeError
from kidney.imaging.nifti import read_mask, read_volume

SHAPE = (4, 5, 6)  # slices, rows, columns
VOXELS = np.random.default_rng(0).integers(-1000, 1500, SHAPE).astype(np.int16)
# Slices to the feet, rows to the back, columns to the left, in NIfTI's right, front, head.
AFFINE = np.array([[0, 0, -0.7, 11], [0, -0.8, 0, 12], [-2.5, 0, 0, 13], [0, 0, 0, 1]])
TURNS = list(
    itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3))
)


def written(path: Path, voxels: np.ndarray = VOXELS, affine: np.ndarray = AFFINE) -> Path:
    nib.save(nib.Nifti1Image(voxels, affine), path)
    return path


def turned(order: tuple[int, ...], signs: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the same volume with its axes in another order and direction."""
    affine = AFFINE.copy()
    voxels = VOXELS
    for axis, sign in enumerate(signs):
        if sign < 0:
            affine[:3, 3] += affine[:3, axis] * (voxels.shape[axis] - 1)
            affine[:3, axis] *= -1
            voxels = np.flip(voxels, axis)
    return voxels.transpose(order), affine[:, [*order, 3]]


@pytest.mark.parametrize(("order", "signs"), TURNS)
def test_any_axes_read_back_to_the_same_volume(tmp_path: Path, order, signs):
    path = written(tmp_path / "a.nii", *turned(order, signs))
    volume = read_volume(path)
    assert volume.voxels.dtype == np.int16
    np.testing.assert_array_equal(volume.voxels, VOXELS)
    assert volume.spacing == pytest.approx((2.5, 0.8, 0.7))
    mask = written(tmp_path / "mask.nii", (VOXELS % 4).astype(np.uint8))
    np.testing.assert_array_equal(read_mask(mask, path).voxels, VOXELS % 4)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(TURNS), st.floats(-0.5, 0.5), st.sampled_from(range(3)))
def test_an_oblique_volume_is_turned_by_its_closest_axes(tmp_path: Path, turn, angle, axis):
    voxels, affine = turned(*turn)
    cosine, sine = np.cos(angle), np.sin(angle)
    rotation = np.eye(4)
    a, b = (axis + 1) % 3, (axis + 2) % 3
    rotation[[a, a, b, b], [a, b, a, b]] = cosine, -sine, sine, cosine
    volume = read_volume(written(tmp_path / "a.nii", voxels, rotation @ affine))
    np.testing.assert_array_equal(volume.voxels, VOXELS)
    assert volume.spacing == pytest.approx((2.5, 0.8, 0.7))


def test_a_phantom_reads_back_as_it_was_drawn(tmp_path: Path):
    scan = generate_scan(7, "cyst", size=96, max_slices=4)
    write_nifti(tmp_path / "scan", scan)
    image, labels = (tmp_path / "scan" / f"{name}.nii.gz" for name in ("image", "labels"))
    volume = read_volume(image)
    np.testing.assert_array_equal(volume.voxels, scan.hu)
    assert volume.spacing == pytest.approx(scan.spacing, abs=1e-3)
    mask = read_mask(labels, image)
    assert mask.voxels.dtype == np.uint8
    np.testing.assert_array_equal(mask.voxels, scan.masks)


def test_the_right_kidney_of_a_real_volume_lies_on_the_left(shared: Path):
    image = shared / "data" / "ct-volume.nii.gz"
    volume = read_volume(image)
    organs = read_mask(shared / "data" / "ct-volume-organs.nii.gz", image).voxels
    assert volume.voxels.shape == organs.shape == (30, 101, 122)
    middle = organs.shape[2] / 2
    right, left = (np.nonzero(organs == label) for label in (2, 3))
    assert right[2].mean() < middle < left[2].mean()
    assert right[1].mean() > organs.shape[1] / 2  # kidneys lie in the back
    assert 0 < np.median(volume.voxels[right]) < 300


def test_content_counts_and_names_do_not(tmp_path: Path):
    plain = written(tmp_path / "a.nii")
    packed = tmp_path / "image"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    np.testing.assert_array_equal(read_volume(packed).voxels, VOXELS)
    second = tmp_path / "b.nii"
    nib.save(nib.Nifti2Image(VOXELS, AFFINE), second)
    np.testing.assert_array_equal(read_volume(second).voxels, VOXELS)


def test_scales_are_applied_fractions_rounded_and_holes_are_air(tmp_path: Path):
    content = bytearray(written(tmp_path / "a.nii").read_bytes())
    content[112:120] = np.array([0.5, -24], dtype="<f4").tobytes()  # slope and intercept
    (tmp_path / "a.nii").write_bytes(content)
    scaled = np.rint(VOXELS * 0.5 - 24).astype(np.int16)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii").voxels, scaled)
    wide = VOXELS.astype(np.float32) + 0.4
    wide[0, 0, :4] = np.nan, np.inf, -np.inf, 1e9
    read = read_volume(written(tmp_path / "b.nii", wide)).voxels
    assert read[0, 0, :4].tolist() == [-1024, 32767, -32768, 32767]
    np.testing.assert_array_equal(read[1:], VOXELS[1:])


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint16, np.float64])
def test_other_numbers_become_int16(tmp_path: Path, dtype):
    voxels = np.abs(VOXELS % 200).astype(dtype)
    read = read_volume(written(tmp_path / "a.nii", voxels)).voxels
    assert read.dtype == np.int16
    np.testing.assert_array_equal(read, voxels)


def test_a_fourth_axis_of_one_is_dropped_and_any_other_refused(tmp_path: Path):
    one = written(tmp_path / "one.nii", VOXELS[..., None])
    np.testing.assert_array_equal(read_volume(one).voxels, VOXELS)
    np.testing.assert_array_equal(read_mask(one_mask(tmp_path), one).voxels, VOXELS % 4)
    for voxels in (np.stack([VOXELS, VOXELS], axis=-1), VOXELS[0]):
        with pytest.raises(ImageTypeError, match="one volume"):
            read_volume(written(tmp_path / "two.nii", voxels))


def one_mask(folder: Path) -> Path:
    return written(folder / "mask.nii", (VOXELS % 4).astype(np.uint8)[..., None])


def test_colours_are_refused(tmp_path: Path):
    colours = np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(ImageTypeError, match="single numbers"):
        read_volume(written(tmp_path / "a.nii", colours))


def test_the_limit_holds_before_voxels_are_read(tmp_path: Path):
    path = written(tmp_path / "a.nii")
    assert read_volume(path, max_voxels=120).voxels.size == 120
    with pytest.raises(ImageSizeError, match="at most 119 voxels, got 120"):
        read_volume(path, max_voxels=119)
    header = bytearray(path.read_bytes()[:352])
    header[42:48] = b"\xff\x7f" * 3  # 32,767 a side and nothing behind it
    bomb = tmp_path / "bomb.nii.gz"
    bomb.write_bytes(gzip.compress(bytes(header)))
    with pytest.raises(ImageSizeError):
        read_volume(bomb)


def test_a_mask_must_belong_to_its_image(tmp_path: Path):
    image = written(tmp_path / "image.nii")
    mask = (VOXELS % 4).astype(np.uint8)
    with pytest.raises(ImageError, match="shape"):
        read_mask(written(tmp_path / "a.nii", mask[:3]), image)
    far = AFFINE.copy()
    far[0, 3] += 40
    with pytest.raises(ImageError, match="affine"):
        read_mask(written(tmp_path / "b.nii", mask, far), image)
    close = AFFINE + np.array([[0, 0, 0, 0.1], [0] * 4, [0] * 4, [0] * 4])
    assert read_mask(written(tmp_path / "c.nii", mask, close), image).voxels.shape == SHAPE
    for odd in (mask + 0.5, np.where(mask, np.nan, 0), mask + 300.0, mask - 1.0):
        with pytest.raises(ImageError, match="whole numbers"):
            read_mask(written(tmp_path / "d.nii", odd.astype(np.float32)), image)
    whole = written(tmp_path / "e.nii", mask.astype(np.float64))
    np.testing.assert_array_equal(read_mask(whole, image).voxels, mask)


def test_what_is_no_volume_is_refused(tmp_path: Path):
    path = tmp_path / "a.nii.gz"
    whole = written(tmp_path / "whole.nii").read_bytes()
    packed = gzip.compress(whole)
    pair = bytearray(whole)
    pair[344:347] = b"ni1"
    flat = bytearray(whole)
    flat[280:328] = bytes(48)  # an affine of zeros
    for content, kind in [
        (b"", ImageError), (b"hello", ImageTypeError), (bytes(pair), ImageTypeError),
        (whole[:-5], ImageError), (packed[:-20], ImageError), (packed[:40], ImageError),
        (whole[:200], ImageTypeError), (bytes(flat), ImageError), (b"\x1f\x8bno", ImageError),
    ]:  # fmt: skip
        path.write_bytes(content)
        with pytest.raises(kind, match="the scan"):
            read_volume(path, "the scan")
    with pytest.raises(ImageError, match="missing"):
        read_volume(tmp_path / "missing.nii")
