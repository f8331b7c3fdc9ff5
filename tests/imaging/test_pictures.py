import numpy as np
import pytest
from PIL import Image

from kidney.errors import ImageError, ImageSizeError, ImageTypeError
from kidney.imaging.pictures import decode_picture
from tests.pictures import blank_png, encode, gradient


def test_a_grey_png_is_decoded_exactly():
    decoded = decode_picture(encode(gradient()))
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, gradient())


def test_a_jpeg_is_decoded_closely():
    decoded = decode_picture(encode(gradient(), "JPEG", quality=95))
    assert np.abs(decoded.astype(int) - gradient()).max() <= 3


def test_16_bit_greys_are_scaled_by_257_and_not_clipped():
    wide = gradient().astype(np.uint16) * 257
    np.testing.assert_array_equal(decode_picture(encode(wide)), gradient())
    just_below_one = np.full((40, 40), 256, dtype=np.uint16)
    assert decode_picture(encode(just_below_one)).max() == 0


def test_transparency_is_dropped():
    grey = gradient()
    transparent = np.dstack([grey, grey, grey, np.zeros_like(grey)])
    np.testing.assert_array_equal(decode_picture(encode(transparent)), grey)


def test_colours_become_luma():
    red = np.zeros((40, 40, 3), dtype=np.uint8)
    red[..., 0] = 255
    np.testing.assert_array_equal(decode_picture(encode(red)), np.full((40, 40), 76))


def test_the_exif_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to see it upright
    decoded = decode_picture(encode(gradient(), "PNG", exif=exif))
    np.testing.assert_array_equal(decoded, np.rot90(gradient(), k=-1))


def test_a_size_is_refused_before_decoding():
    with pytest.raises(ImageSizeError, match="at most 16,000,000 pixels"):
        decode_picture(blank_png(20_000))
    with pytest.raises(ImageSizeError, match="got 64 x 48"):
        decode_picture(encode(gradient()), max_pixels=64 * 48 - 1)
    assert decode_picture(encode(gradient()), max_pixels=64 * 48).shape == (48, 64)
    with pytest.raises(ImageSizeError, match="at least 32 pixels a side, got 31 x 48"):
        decode_picture(encode(gradient(48, 31)))


@pytest.mark.parametrize("content", [b"hello, I am a text", b"\x89PNG\r\n\x1a\n", b"GIF89a"])
def test_other_content_is_refused_whatever_its_name(content):
    with pytest.raises(ImageTypeError, match=r"scan\.jpg to be a JPEG or PNG"):
        decode_picture(content, name="scan.jpg")


def test_an_empty_file_is_refused():
    with pytest.raises(ImageError, match="empty"):
        decode_picture(b"")


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_truncated_file_is_refused(kind):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    whole = encode(noise, kind)
    with pytest.raises(ImageError, match="cannot be decoded"):
        decode_picture(whole[: len(whole) // 2])


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow warns of the damaged EXIF
def test_damage_raises_nothing_but_image_errors():
    generator = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = [encode(gradient(), kind, exif=exif) for kind in ("JPEG", "PNG")]
    refused = 0
    for trial in range(400):
        data = bytearray(whole[trial % 2])
        for _ in range(3):
            data[generator.integers(len(data))] = generator.integers(256)
        try:
            decode_picture(bytes(data))
        except ImageError:
            refused += 1
    assert refused > 50  # the damage is real
