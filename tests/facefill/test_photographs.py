"""Reading pictures: orientation, truncation, other formats."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from facefill.errors import UserError
from facefill.photographs import (
    decode_photograph,
    decode_photographs_into,
    exif_orientation,
    photograph_shape,
)


def picture() -> np.ndarray:
    """Four quarters of different colours, wider than high, so that every turn shows."""
    image = np.zeros((32, 48, 3), np.uint8)
    image[:16, :24], image[:16, 24:], image[16:, :24] = (200, 30, 30), (30, 200, 30), (30, 30, 200)
    return image


def encoded(image: np.ndarray, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, kind, **options)
    return stream.getvalue()


def cmyk_jpeg() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture()).convert("CMYK").save(stream, "JPEG")
    return stream.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_honoured_as_pillow_does(orientation):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(picture(), "JPEG", exif=exif, quality=95)
    expected = np.array(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    decoded = decode_photograph(data, "p.jpg")
    assert exif_orientation(data) == orientation
    assert decoded.shape == expected.shape
    assert np.abs(decoded.astype(int) - expected.astype(int)).mean() < 2


def test_pictures_of_one_size_are_decoded_into_one_place_whatever_they_are():
    turned = Image.Exif()
    turned[0x0112] = 6
    stored = [
        encoded(picture(), "JPEG"),
        encoded(picture().swapaxes(0, 1), "JPEG", exif=turned),
        encoded(picture(), "PNG"),
        cmyk_jpeg(),
    ]
    block = np.zeros((4, 32, 48, 3), np.uint8)
    decode_photographs_into(block, stored, list("abcd"))
    for data, got in zip(stored, block, strict=True):
        expected = decode_photograph(data, "p")
        assert (got == expected).all() and photograph_shape(data, "p") == expected.shape


def test_the_shape_of_what_cannot_be_read_is_refused_by_name():
    for bad in (b"", encoded(picture(), "JPEG")[:12], b"\xff\xd8\xff, says the file"):
        with pytest.raises(UserError, match=r"^p\.jpg: "):
            photograph_shape(bad, "p.jpg")
    with pytest.raises(UserError, match="b: 48x32 pixels, where 32x48 are expected"):
        pair = [encoded(picture(), "JPEG"), encoded(picture().swapaxes(0, 1), "JPEG")]
        decode_photographs_into(np.zeros((2, 32, 48, 3), np.uint8), pair, list("ab"))


def test_damaged_exif_is_upright():
    data = encoded(picture(), "JPEG")
    broken = data[:2] + b"\xff\xe1\x00\x0cExif\0\0MM\0*" + data[2:]
    assert exif_orientation(broken) == 1
    assert decode_photograph(broken, "p.jpg").shape == (32, 48, 3)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP"])
def test_other_formats(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    assert (decode_photograph(encoded(picture(), kind, **options), "p") == picture()).all()


def test_grey_and_cmyk_jpegs_become_rgb():
    grey = io.BytesIO()
    Image.fromarray(picture()).convert("L").save(grey, "JPEG")
    assert decode_photograph(grey.getvalue(), "g").shape == (32, 48, 3)
    assert decode_photograph(cmyk_jpeg(), "c").shape == (32, 48, 3)


@pytest.mark.parametrize("keep", [0, 3, 40, 400])
def test_unreadable_bytes_name_the_file(keep):
    data = encoded(np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8), "JPEG")[:keep]
    with pytest.raises(UserError, match=r"folder/p\.jpg"):
        decode_photograph(data, "folder/p.jpg")
    with pytest.raises(UserError, match=r"folder/p\.jpg"):
        decode_photograph(b"<html>not found</html>", "folder/p.jpg")


def claiming(kind: str, side: int) -> bytes:
    """A small file whose header claims side x side pixels."""
    if kind == "JPEG":
        data = bytearray(encoded(picture(), "JPEG"))
        start = data.index(b"\xff\xc0")
        data[start + 5 : start + 9] = struct.pack(">HH", side, side)
        return bytes(data)
    chunks = {b"IHDR": struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0), b"IDAT": zlib.compress(bytes(999))}
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in (*chunks.items(), (b"IEND", b""))
    )


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("side", [12_000, 60_000])
def test_a_picture_that_claims_too_many_pixels_is_refused_before_it_is_decoded(kind, side):
    with pytest.raises(UserError, match=r"p: its header claims more than 134 million pixels"):
        decode_photograph(claiming(kind, side), "p")
