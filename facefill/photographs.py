"""Reading pictures of people as they come from cameras and data sets: bytes -> upright RGB pixels.

JPEG goes through simplejpeg where it is installed (it refuses truncated files), else through OpenCV or
Pillow; the EXIF orientation is honoured, so pixel coordinates are those of the upright picture.
"""

import struct
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facefill.errors import UserError

UPRIGHT = 1
LARGEST_PICTURE = 1 << 27  # pixels, 134 million: 400 MB as RGB; a header can claim any number of them
_ORIENTATION_TAG = 0x0112
_BEFORE_TABLES = {
    *range(0xE0, 0xF0),
    0xFE,
}  # markers of APP0..15 and comments; EXIF (APP1) comes first of all


def decode_photograph(data: bytes, name: str) -> NDArray[np.uint8]:
    """Upright RGB (H, W, 3) uint8 of a JPEG, PNG or other common picture file; `name` is for the message.

    Raises UserError when the bytes are empty, truncated or no picture, and where they claim more than
    `LARGEST_PICTURE` pixels, before any are decoded.
    """
    if not data:
        raise UserError(f"{name}: the file is empty; fetch it again")
    if is_jpeg(data):
        return np.ascontiguousarray(turn_upright(_decode_jpeg(data, name), exif_orientation(data)))
    return _decode_with_opencv(data, name)


def photograph_shape(data: bytes, name: str) -> tuple[int, ...]:
    """The shape that `decode_photograph` gives, mostly from the header alone; raises as it does."""
    simplejpeg = _simplejpeg()
    if simplejpeg is not None and is_jpeg(data) and exif_orientation(data) == UPRIGHT:
        try:
            height, width, _, _ = simplejpeg.decode_jpeg_header(data)
        except ValueError:  # decoding says why
            return decode_photograph(data, name).shape
        _refuse_large(width, height, name)
        return height, width, 3
    return decode_photograph(data, name).shape


def decode_photographs_into(block: NDArray[np.uint8], stored: Sequence[bytes], names: Sequence[str]) -> None:
    """The same for pictures of one size, into an array (N, H, W, 3), which spares allocations and copies.

    Raises UserError also for a picture of another size.
    """
    # All headers first: a decoded picture drives what reads them out of the processor's caches.
    upright = [is_jpeg(data) and exif_orientation(data) == UPRIGHT for data in stored]
    for out, data, plain, name in zip(list(block), stored, upright, names, strict=True):
        if plain and _decoded_into(out, data):
            continue
        picture = decode_photograph(data, name)
        if picture.shape != out.shape:
            raise UserError(
                f"{name}: {picture.shape[0]}x{picture.shape[1]} pixels, where {out.shape[0]}x{out.shape[1]} "
                "are expected; shard the data set again"
            )
        out[:] = picture


def is_jpeg(data: bytes) -> bool:
    """Whether the bytes begin like a JPEG file."""
    return data[:3] == b"\xff\xd8\xff"


def exif_orientation(data: bytes) -> int:
    """The EXIF orientation 1..8 of a JPEG; 1 (upright) where it says nothing readable."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker, length = data[position + 1], int.from_bytes(data[position + 2 : position + 4], "big")
        if marker not in _BEFORE_TABLES:
            break
        segment = data[position + 4 : position + 2 + length]
        if marker == 0xE1 and segment[:6] == b"Exif\0\0":
            return _orientation_from_tiff(segment[6:])
        position += 2 + length
    return UPRIGHT


def turn_upright(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """The image (H, W, 3) as it was meant to be seen, given its EXIF orientation."""
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return image


def _orientation_from_tiff(tiff: bytes) -> int:
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return UPRIGHT
    try:
        (directory,) = struct.unpack_from(order + "I", tiff, 4)
        (entries,) = struct.unpack_from(order + "H", tiff, directory)
        for entry in range(entries):
            tag, _, _, value = struct.unpack_from(order + "HHIH", tiff, directory + 2 + 12 * entry)
            if tag == _ORIENTATION_TAG:
                return value if 1 <= value <= 8 else UPRIGHT
    except struct.error:  # a damaged EXIF block does not spoil the picture
        pass
    return UPRIGHT


def _decode_jpeg(data: bytes, name: str) -> NDArray[np.uint8]:
    simplejpeg = _simplejpeg()
    if simplejpeg is None:
        return _decode_with_opencv(data, name)
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:  # decoding says why
        height = width = 0
    _refuse_large(width, height, name)
    try:
        return simplejpeg.decode_jpeg(data, "RGB")
    except ValueError as error:
        if "Premature end" in str(error):
            raise UserError(f"{name}: a truncated JPEG ({error}); fetch it again") from None
        return _decode_with_pillow(data, name)  # CMYK and other rarities


def _decoded_into(out: NDArray[np.uint8], data: bytes) -> bool:
    """Whether the picture could be read in this way and filled `out`."""
    simplejpeg = _simplejpeg()
    if simplejpeg is None:
        return False
    try:
        return simplejpeg.decode_jpeg(data, "RGB", buffer=out).shape == out.shape
    except ValueError:
        return False


@cache
def _simplejpeg() -> Any:
    """The module, None where it is not installed; asked for once, not for every picture."""
    try:
        import simplejpeg
    except ImportError:
        return None
    return simplejpeg


def _decode_with_opencv(data: bytes, name: str) -> NDArray[np.uint8]:
    try:
        import cv2
    except ImportError:
        return _decode_with_pillow(data, name)
    _refuse_claim(data, name)
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if image is None:
        raise UserError(
            f"{name}: not a picture that can be read; fetch it again or convert it to JPEG or PNG"
        )
    return np.asarray(image, np.uint8)


def _decode_with_pillow(data: bytes, name: str) -> NDArray[np.uint8]:
    import io

    from PIL import Image

    _refuse_claim(data, name)
    try:
        return np.array(Image.open(io.BytesIO(data)).convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{name}: not a picture that can be read ({error}); fetch it again") from None


def _refuse_claim(data: bytes, name: str) -> None:
    """As `_refuse_large`, by the header as Pillow reads it; one that it cannot read passes."""
    import io

    try:
        from PIL import Image
    except ImportError:
        return
    try:
        width, height = Image.open(io.BytesIO(data)).size
    except Image.DecompressionBombError:  # a limit of its own, above ours
        width, height = LARGEST_PICTURE, 2
    except (OSError, SyntaxError, ValueError):
        return
    _refuse_large(width, height, name)


def _refuse_large(width: int, height: int, name: str) -> None:
    if width * height > LARGEST_PICTURE:
        raise UserError(
            f"{name}: its header claims more than {LARGEST_PICTURE / 1e6:.0f} million pixels; fetch it again "
            "or scale it down"
        )
