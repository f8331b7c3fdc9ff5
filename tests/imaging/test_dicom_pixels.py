"""JPEG Lossless and JPEG-LS: read exactly, and refused where pixels are missing."""

import base64
import zlib

import imagecodecs
import numpy as np
import pytest
from pydicom.uid import (
    UID,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
)

from kidney.data.phantom.scan import PhantomScan
from kidney.errors import ImageError
from kidney.imaging.dicom import read_dicom
from tests.helpers.dicom_files import with_codes
from tests.helpers.pictures import encode, gradient

Series = tuple[PhantomScan, list[bytes]]
# What GDCM 3.2 made of `pyramid()` in JPEG Lossless.
BY_GDCM = zlib.decompress(
    base64.b85decode(
        "c-s4a<Nsj>ZUF`b1_ee&L5BZF7(^Ku85vLj8~^`X3>-jFpm@X2&1nZ`oAKP-kao7&EJw0W%%Wi9;nqGGoq~tSGmS"
        "^(27_GN=25xfD!2dtO#uFxrak"
    )
)
# The same with a restart marker after each 8 rows, by an encoder after T.81 annex H.
RESTARTS = zlib.decompress(
    base64.b85decode(
        "c-s4a<NsX-7Dk5uhZ(p97!(*37#Rf_{vTmbVE_R^1|-19#LU9V#?HaX#m&RZ$1m{z76S((BLgD?LxsF?TF%+V&1Pu_"
        "Zq7DN$T>T6gIU^{8`8!yNoNZC4AU%*OKg@&?uqO(Jf?G8T6t70scP&0U#PGc4P%nkN?ax-j4xKWY^IIbqiSJce5pcv"
        "G>mB+#y0_lh@y-"
    )
)
# What GDCM 3.2 made of `pyramid()` in JPEG-LS, and CharLS 2 of `mixed()` with an error up to 2.
PYRAMID = zlib.decompress(
    base64.b85decode(
        "c-s4a<NtRCZUF`b1_ee&L5BZ77<d`~|7Q?laAp)?aQJ_VfrF8e0SM|UPD?!9S+_fM&DED*t@`}(;^eG2dH?=s`0?"
        "%6rw?D=yn6SnXW}G7?@3>a)<&!j(F)~Rb7qalaRvnrCPsz^2L&i#GgA|N`t|A7qgz|2wuYvLnj|(fGO=(7C^&#AR"
        "=1oRMoD{{Sx;YI8?!Sh9w;c_2tf={TeG%yi|T|ejoPYpRl|FOBSLCr(2`dn%L5h~^JwjQwYmT-tjOUc&=6aCB{Ee"
        "k(si0|XmD5}P^1Mc92y!N8ZsqNRm9U(DD)vj*u{mZbFFq%*p{`KQI}R7aRCE|sB5j7TtOmBG(AEdDS?54rkB%{R!"
        "zx?Q%xl%d8$nEWCR*!3PS#1u7cL8tYsinoH8jiG(dFgt+!>nV|J}twW{HE?7I8@>L*vN+Rp$6OpLw%>lxH0doH<@"
        "akL-E^aZgmHjDqSW0>WuwA3r^@c;S-uc=xgOV7yvuV7gjwDfD%|N4K7_iMjj?Y{rNg7xm*)v^EU55(TRwe<Y|8X$"
        "LNG=$r_9?V@H3Fh884b;xPd-v4%|MiUJ<we@{{}c4yy)%vfUjr2F4E|rw^zPk5hW|GK09@X)"
    )
)
MIXED = zlib.decompress(
    base64.b85decode(
        "c-jF`0<Qi4*#Gwc3kv`s05Aao5di<%00;pA00IC200000IO%arJykv+w<53FQ-A;f6$ru*gv3NlJcx;ih?t0u#V!"
        "PNRfr*76_aNoKau1|xdLN`%pseo^vD>zyEybGY`9QTD+36;%~FIMM?|NgbJIaVI4RCkf`pF|nGv2x60i6G3J@VwE"
        ">35tZO3Y6Z4jU6m7W2V!pyalkr0{+LYiJl4}YR6Ug@mPR8j;Qg+mll%t?)Vt*>OvpNb<zB<w-{ZCL;V;vyu12#JV"
        "@n37otA@eeeKd9plaS|gnb83m+$hN)gtP_}~_9Aum^BGeTy^|`+^;_L4cBa0BB)rxRh~BF!)f1)6jyXnRV*Tw*;k"
        "_1DqL$@5N{KnetWMacn!*uldMAEIGxys2q{O5wM^?YBAOHab>ZXEV1;}Cm05AoZNEKTCol&k+lSI{(xmFxM0)PPf"
        "B$i1mkb)m9l3645JF(5FFNfak8h@-D?;B*v>-Ke(`pkdpTUv42hvXxySD86i`qh}hq(@j^trV_QEB#=*{ncqjo!s"
        "P9C;3hDm%soEtj(E5)R%wDG#|=ufc7&<#X&7HVvQ&jRS*2F{)TXs>RQS1F{%KHkN^Mx8c8|MZPj&MInS7l=H~RuI"
        "fT+uRG<2{`sHgRV`RE%Zsd-o{;mGIepQGuV4JQ+YmonIFZC2xwdJ6PN&s%&Sr_`t{Z2ql*qs0f{6d_9L1Fm8|17_"
        "kU^oM!6mFHOSwua}4M%lv^?d<nJCMKt0t+spCUi$u{!stf#QqVz"
    )
)


def pyramid() -> np.ndarray:
    y, x = np.mgrid[:32, :32]
    return (np.maximum(0, 40 - abs(x - 16) - abs(y - 14)) * 50 + x % 3).astype(np.uint16)


def noise(rows: int = 40, columns: int = 33) -> np.ndarray:
    """All 16 bits, with steps of each size."""
    generator = np.random.default_rng(0)
    picture = generator.integers(0, 1 << 16, (rows, columns)) >> generator.integers(
        0, 16, (rows, columns)
    )
    return picture.astype(np.uint16)


def mixed() -> np.ndarray:
    """Texture on the left; on the right flat parts that are coded as runs, broken by lines."""
    y, x = np.mgrid[:32, :48]
    texture = 1000 + (x * x * 7 + y * y * 13 + x * y * 5) % 97
    flat = 500 + (y // 8) * 300 + ((x + y) % 17 == 0) * 40
    return np.where(x < 20, texture, flat).astype(np.uint16)


def stored_in(series: Series, syntax: UID, code: bytes, like: np.ndarray, **values: int):
    """Return the values that come out of the code of a picture like this one."""
    bits = 8 * like.itemsize
    data = with_codes(
        series[1][0], syntax, [code], Rows=like.shape[0], Columns=like.shape[1], BitsAllocated=bits,
        BitsStored=bits, HighBit=bits - 1, RescaleSlope=1, RescaleIntercept=-1024, **values,
    )  # fmt: skip
    return read_dicom(data, "it").hu[0].astype(int) + 1024


@pytest.mark.parametrize(
    ("syntax", "code"),
    [(JPEGLosslessSV1, BY_GDCM), (JPEGLosslessSV1, RESTARTS), (JPEGLSLossless, PYRAMID)],
    ids=["JPEG", "restarts", "JPEG-LS"],
)
def test_a_file_of_another_encoder_is_read_exactly(series: Series, syntax: UID, code: bytes):
    np.testing.assert_array_equal(stored_in(series, syntax, code, pyramid()), pyramid())


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_every_predictor_is_undone_exactly(series: Series, predictor: int, bits: int):
    picture = (noise() >> (16 - bits)).astype(np.uint8 if bits == 8 else np.uint16)
    code = imagecodecs.jpeg8_encode(picture, lossless=True, predictor=predictor, bitspersample=bits)
    np.testing.assert_array_equal(
        stored_in(series, JPEGLossless, code, picture), np.minimum(picture.astype(int), 4095)
    )


def test_a_near_lossless_file_is_as_close_as_it_says(series: Series):
    error = np.abs(stored_in(series, JPEGLSNearLossless, MIXED, mixed()) - mixed())
    assert error.max() == 2
    assert error[:, 20:].mean() < error[:, :20].mean()


@pytest.mark.parametrize(
    ("syntax", "code"),
    [
        (JPEGLosslessSV1, BY_GDCM),
        (JPEGLosslessSV1, RESTARTS),
        (JPEGLSLossless, PYRAMID),
    ],
    ids=["JPEG", "restarts", "JPEG-LS"],
)
def test_missing_pixels_are_refused_whatever_the_end_says(series: Series, syntax: UID, code: bytes):
    body = code.index(b"\xff\xda") + 10
    for length in (*range(body, len(code) - 12, 29), *range(len(code) - 12, len(code) - 4)):
        with pytest.raises(ImageError, match="end early"):  # or CharLS would take seconds
            stored_in(series, syntax, code[:length], pyramid())
        with pytest.raises(ImageError):
            stored_in(series, syntax, code[:length] + b"\xff\xd9", pyramid())


def test_a_missing_restart_or_pixels_before_it_are_refused(series: Series):
    marker = RESTARTS.index(b"\xff\xd1")
    for short in (RESTARTS[: marker - 30] + RESTARTS[marker:], RESTARTS[:marker] + b"\xff\xd9"):
        with pytest.raises(ImageError, match="end early"):
            stored_in(series, JPEGLosslessSV1, short, pyramid())


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEGLSLossless, JPEGBaseline8Bit])
def test_a_frame_hidden_behind_a_marker_without_length_is_refused(series: Series, syntax: UID):
    code = {
        JPEGLosslessSV1: BY_GDCM,
        JPEGLSLossless: PYRAMID,
        JPEGBaseline8Bit: encode(gradient(32, 32), "JPEG"),
    }[syntax]
    huge = b"\xff\xc3\x00\x0b\x10\xff\xff\xff\xff\x01\x01\x11\x00"
    hidden = b"\xff\xd0" + (2 + len(huge)).to_bytes(2) + huge
    like = pyramid().astype(np.uint8) if syntax == JPEGBaseline8Bit else pyramid()
    with pytest.raises(ImageError, match="segments are damaged"):
        stored_in(series, syntax, code[:2] + hidden + code[2:], like)
