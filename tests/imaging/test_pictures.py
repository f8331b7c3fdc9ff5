import io

import numpy as np
import pytest
from PIL import Image

from kidney.errors import ImageError, ImageSizeError, ImageTypeError
from kidney.imaging.pictures import decode_picture
from tests.helpers.pictures import blank_png, encode, gradient


def test_a_grey_png_is_decoded_exactly():
    decoded = decode_picture(encode(gradient()))
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, gradient())


def test_a_grey_tiff_is_decoded_exactly():
    np.testing.assert_array_equal(decode_picture(encode(gradient(), "TIFF")), gradient())
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits"):
        packed = encode(gradient(), "TIFF", compression=compression)
        np.testing.assert_array_equal(decode_picture(packed), gradient())
    wide = gradient().astype(np.uint16) * 257
    np.testing.assert_array_equal(decode_picture(encode(wide, "TIFF")), gradient())


def test_a_tiff_with_several_pages_is_refused_with_a_way_out():
    pages = [Image.fromarray(gradient()) for _ in range(2)]
    several = encode(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    with pytest.raises(ImageTypeError, match="several pages") as caught:
        decode_picture(several)
    assert "each page" in caught.value.remedy


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_a_tiff_without_a_scale_of_grey_is_refused(dtype):
    with pytest.raises(ImageTypeError, match="8 or 16 bits"):
        decode_picture(encode(gradient().astype(dtype), "TIFF"))


def test_a_jpeg_is_decoded_closely():
    decoded = decode_picture(encode(gradient(), "JPEG", quality=95))
    assert np.abs(decoded.astype(int) - gradient()).max() <= 3


def test_16_bit_greys_are_scaled_by_257_and_not_clipped():
    wide = gradient().astype(np.uint16) * 257
    np.testing.assert_array_equal(decode_picture(encode(wide)), gradient())
    wide[0, 0] = 256
    assert decode_picture(encode(wide))[0, 0] == 0


@pytest.mark.parametrize(("low", "high"), [(0, 4095), (31_750, 33_500)], ids=["12 bits", "HU"])
def test_a_sliver_of_16_bits_is_refused(low: int, high: int):
    rng = np.random.default_rng(0)
    wide = rng.integers(low, high, (40, 40)).astype(np.uint16)
    with pytest.raises(ImageTypeError, match="to use its 16 bits"):
        decode_picture(encode(wide))


def test_a_tiff_of_16_bits_may_store_white_as_0():
    wide = gradient().astype(np.uint16) * 257
    buffer = io.BytesIO()
    Image.fromarray(65535 - wide).save(buffer, "TIFF", tiffinfo={262: 0})
    np.testing.assert_array_equal(decode_picture(buffer.getvalue()), gradient())


def test_what_is_transparent_is_black():
    grey = gradient()
    seen = np.zeros_like(grey)
    seen[10:30] = 255
    picture = np.dstack([grey, grey, grey, seen])
    expected = np.where(seen > 0, grey, 0)
    np.testing.assert_array_equal(decode_picture(encode(picture)), expected)


def test_colours_become_luma():
    red = np.zeros((40, 40, 3), dtype=np.uint8)
    red[..., 0] = 255
    np.testing.assert_array_equal(decode_picture(encode(red)), np.full((40, 40), 76))


def noisy_jpegs() -> dict[str, bytes]:
    """JPEG files of each kind that goes its own way through the decoder."""
    generator = np.random.default_rng(0)
    colours = Image.fromarray(generator.integers(0, 256, (61, 83, 3), dtype=np.uint8))
    grey = colours.convert("L")
    return {
        "grey": encode(grey, "JPEG"),
        "progressive": encode(grey, "JPEG", progressive=True),
        "colours": encode(colours, "JPEG", subsampling=2),
        "RGB as it is": encode(colours, "JPEG", keep_rgb=True),
        "CMYK": encode(colours.convert("CMYK"), "JPEG"),
    }


@pytest.mark.parametrize("kind", noisy_jpegs())
def test_jpegs_are_decoded_as_pillow_decodes_them(kind: str):
    data = noisy_jpegs()[kind]
    with Image.open(io.BytesIO(data)) as picture:
        # Luma as it is stored; Pillow goes by colours, which clip where luma does not.
        picture.draft("L" if kind == "colours" else None, None)
        expected = np.asarray(picture.convert("L")).astype(int)
    decoded = decode_picture(data)
    assert np.abs(decoded - expected).max() <= (1 if kind == "RGB as it is" else 0)


def test_a_jpeg_with_rubbish_between_its_segments_is_read_as_pillow_reads_it():
    whole = encode(gradient(), "JPEG")
    table = whole.index(b"\xff\xdb")
    odd = whole[:table] + b"\xff\xff\xff" + whole[table:] + b"behind the end"
    np.testing.assert_array_equal(decode_picture(odd), decode_picture(whole))


def test_a_second_header_does_not_get_around_the_limit():
    """Pillow believes the last size before the scan, other decoders the first."""
    small, large = encode(gradient(), "JPEG"), encode(gradient(4000, 4000), "JPEG")
    first, second = small.index(b"\xff\xc0"), large.index(b"\xff\xc0")
    both = small[:first] + large[second : second + 13] + small[first:]
    with pytest.raises(ImageError):
        decode_picture(both, max_pixels=64 * 48)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG"])
def test_the_exif_orientation_is_applied(kind: str):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to see it upright
    decoded = decode_picture(encode(gradient(), kind, exif=exif))
    upright = decode_picture(encode(gradient(), kind))
    np.testing.assert_array_equal(decoded, np.rot90(upright, k=-1))


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


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
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
    whole = [encode(gradient(), kind, exif=exif) for kind in ("JPEG", "PNG", "TIFF")]
    whole += [encode(gradient(), "TIFF", compression="tiff_lzw"), *noisy_jpegs().values()]
    refused = 0
    for trial in range(900):
        data = bytearray(whole[trial % len(whole)])
        for _ in range(3):
            data[generator.integers(len(data))] = generator.integers(256)
        try:
            decode_picture(bytes(data))
        except ImageError:
            refused += 1
    assert refused > 50  # the damage is real
