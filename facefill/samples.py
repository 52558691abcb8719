"""Every field that a stored sample can have: its name, its file extension, how it is written and read.

A sample is a set of tar members `{key}.{extension}` with one key, for example `celeba/000001.image.jpg`.
Pictures are JPEG at quality 95 without chroma subsampling (or the original bytes), maps are lossless, arrays
are .npy float32. Ranges: pictures RGB uint8 0..255 (a batch has floats in [0, 1]); parsing the classes of
`face_parsing`; landmarks pixels of the 256 x 256 image, pixel centres at integers, y down.
"""

import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from facefill.errors import UserError
from facefill.face_parsing import UNKNOWN
from facefill.landmarks import LEFT_MOUTH_CORNER, NOSE_TIP, RIGHT_MOUTH_CORNER, five_from_68

IMAGE_SIZE = 256
JPEG_QUALITY = 95
NUM_IDENTITY, NUM_EXPRESSION = 199, 29
FIT_SIZE = NUM_IDENTITY + NUM_EXPRESSION + 6 + 27  # scale, 3 angles, 2 translations; 3 x 9 harmonics
PARAMETERS_SIZE = NUM_IDENTITY + NUM_EXPRESSION + 6

Array = NDArray[Any]
Batch = dict[str, Any]  # tensors by field name; "key" is a list of strings


@dataclass(frozen=True)
class Field:
    """One stored field: `extension` is what follows the key's dot in the tar member's name."""

    name: str
    extension: str
    encode: Callable[[Array], bytes]
    decode: Callable[[bytes], Array]


def encode_jpeg(image: Array) -> bytes:
    """RGB (H, W, 3) uint8 -> JPEG bytes at quality 95, 4:4:4."""
    import simplejpeg

    return simplejpeg.encode_jpeg(np.ascontiguousarray(image), JPEG_QUALITY, "RGB", "444", fastdct=False)


def decode_jpeg(data: bytes) -> Array:
    """JPEG bytes -> RGB (H, W, 3) uint8; raises ValueError when they are truncated."""
    from facefill.photographs import decode_photograph

    return decode_photograph(data, "image.jpg")


def encode_png(image: Array) -> bytes:
    """Grey (H, W) uint8 -> PNG bytes."""
    import cv2

    return cv2.imencode(".png", np.ascontiguousarray(image))[1].tobytes()


def encode_bilevel_png(visible: Array) -> bytes:
    """Booleans (H, W) -> PNG bytes with one bit per pixel."""
    import cv2

    picture = np.asarray(visible, bool).astype(np.uint8) * 255
    return cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_BILEVEL, 1])[1].tobytes()


def decode_png(data: bytes) -> Array:
    """PNG bytes -> grey (H, W) uint8."""
    import cv2

    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise ValueError("not a PNG that can be read")
    return np.asarray(image)


def decode_bilevel_png(data: bytes) -> Array:
    """PNG bytes -> booleans (H, W)."""
    return decode_png(data) > 127


def encode_array(array: Array) -> bytes:
    """Array -> .npy bytes, float32."""
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(array, np.float32), allow_pickle=False)
    return stream.getvalue()


def decode_array(data: bytes) -> Array:
    """.npy bytes -> array; raises ValueError for pickles and truncated files."""
    start = 10 + int.from_bytes(data[8:10], "little")
    layout = _npy_layout(data[:start])
    if layout is None:
        return np.load(io.BytesIO(data), allow_pickle=False)
    dtype, shape = layout
    return np.frombuffer(data, dtype, math.prod(shape), start).reshape(shape).copy()


def decode_arrays(stored: Sequence[bytes]) -> Array | None:
    """.npy bytes of N arrays of one type and shape as one array (N, ...); None where they are not such.

    What cannot be read is not such either: `decode_array` says why.
    """
    start = 10 + int.from_bytes(stored[0][8:10], "little")
    header = stored[0][:start]
    try:
        layout = _npy_layout(header)
    except ValueError:
        layout = None
    if layout is None or any(data[:start] != header for data in stored):
        return None
    dtype, shape = layout
    size = start + math.prod(shape) * dtype.itemsize
    if any(len(data) != size for data in stored):
        return None
    values = bytearray().join([data[start:] for data in stored])  # unlike bytes, to be written to
    return np.frombuffer(values, dtype).reshape(len(stored), *shape)


@lru_cache(64)
def _npy_layout(header: bytes) -> tuple[np.dtype[Any], tuple[int, ...]] | None:
    """Type and shape of a plain array of version 1.0, None for all that only numpy should read.

    All samples of a set have the same few headers, and numpy takes ten times as long to parse one.
    """
    if header[:8] != b"\x93NUMPY\x01\x00":
        return None
    shape, columns_first, dtype = np.lib.format.read_array_header_1_0(io.BytesIO(header[8:]))
    return None if columns_first or dtype.hasobject else (dtype, shape)


IMAGE = Field("image", "image.jpg", encode_jpeg, decode_jpeg)
LANDMARKS = Field("landmarks", "landmarks.npy", encode_array, decode_array)  # (68, 2) or (5, 2)
PARSING = Field("parsing", "parsing.png", encode_png, decode_png)
# Ground truth that came with the data set (300W-3D): identity and expression in the model's raw units
# (µm-scaled, not divided by sigma), then scale, Euler angles and translation of the camera in the aligned
# image.
PARAMETERS = Field("parameters", "parameters.npy", encode_array, decode_array)  # (234,)
FIT = Field("fit", "fit.npy", encode_array, decode_array)  # (261,), see geometry.reconstruction
UV_TEXTURE = Field("uv_texture", "uv_texture.jpg", encode_jpeg, decode_jpeg)
UV_ALBEDO = Field("uv_albedo", "uv_albedo.jpg", encode_jpeg, decode_jpeg)
UV_VISIBLE = Field("uv_visible", "uv_visible.png", encode_bilevel_png, decode_bilevel_png)
FIELDS = (IMAGE, LANDMARKS, PARSING, PARAMETERS, FIT, UV_TEXTURE, UV_ALBEDO, UV_VISIBLE)
PICTURES = (IMAGE.name, UV_TEXTURE.name, UV_ALBEDO.name)  # RGB in JPEG
FIELD_BY_EXTENSION = {field.extension: field for field in FIELDS}


def encode_sample(sample: Mapping[str, Array | bytes]) -> dict[str, bytes]:
    """Field name -> array (or bytes, kept as they are) becomes extension -> bytes, in the order of FIELDS."""
    unknown = sorted(set(sample) - {field.name for field in FIELDS})
    if unknown:
        raise UserError(f"sample fields {unknown}: expected some of {[field.name for field in FIELDS]}")
    members = {}
    for field in FIELDS:
        if field.name in sample:
            value = sample[field.name]
            members[field.extension] = value if isinstance(value, bytes) else field.encode(value)
    return members


def decode_sample(members: Mapping[str, bytes], fields: Iterable[str] | None = None) -> dict[str, Array]:
    """Extension -> bytes becomes field name -> array; with `fields`, only those of them that are there.

    Raises UserError for a member that is no field, or cannot be read, by name.
    """
    wanted = None if fields is None else set(fields)
    sample = {}
    for extension, data in members.items():
        field = FIELD_BY_EXTENSION.get(extension)
        if field is None:
            raise UserError(f"member .{extension}: expected one of {sorted(FIELD_BY_EXTENSION)}")
        if wanted is None or field.name in wanted:
            try:
                sample[field.name] = field.decode(data)
            except ValueError as error:
                raise UserError(
                    f"member .{extension} cannot be read ({error}); shard the data set again"
                ) from None
    return sample


def collate(samples: Sequence[Mapping[str, Any]]) -> Batch:
    """Decoded samples, each with "key" and "seed", as one batch of tensors.

    image (N,3,256,256) float [0,1]; landmarks (N,68,2), where a five-point sample has its nose tip and mouth
    corners and NaN elsewhere; five (N,5,2); parsing (N,256,256) int64, UNKNOWN where a sample has none;
    uv_texture, uv_albedo (N,3,192,256) float; uv_visible (N,1,192,256) float; fit (N,261) and parameters
    (N,234), NaN where a sample has none; seed (N,) int64; key: list of str. The uv fields must be in all
    samples or in none: UserError otherwise.
    """
    columns = {field.name: [sample.get(field.name) for sample in samples] for field in FIELDS}
    return floats(stack([s["key"] for s in samples], [s["seed"] for s in samples], columns))


def stack(
    keys: Sequence[str], seeds: Sequence[int], columns: Mapping[str, Sequence[Array | None] | Array]
) -> Batch:
    """A packed batch: what `collate` gives before `floats`, an eighth as large.

    columns: field name -> the values of all samples, None where one has none, or all of them in one array.
    Pictures stay uint8 (as they lie in memory, channels last), uv_visible bool, parsing uint8.
    """
    batch: Batch = {"key": list(keys), "seed": torch.from_numpy(np.array(seeds, np.int64))}
    present = {name: values for name, values in columns.items() if any(value is not None for value in values)}
    batch["landmarks"], batch["five"] = _both_landmarks(columns.get("landmarks", [None] * len(keys)))
    for name in (*PICTURES, "uv_visible"):
        if name in present:
            lacking = [key for key, value in zip(keys, present[name], strict=True) if value is None]
            if lacking:
                raise UserError(
                    f"sample {lacking[0]} has no {name} and others have: build these shards again"
                )
            batch[name] = _joined(present[name])
    for name in PICTURES:
        if name in batch:
            batch[name] = batch[name].permute(0, 3, 1, 2)
    if "uv_visible" in batch:
        batch["uv_visible"] = batch["uv_visible"][:, None]
    unknown = np.full((IMAGE_SIZE, IMAGE_SIZE), UNKNOWN, np.uint8)
    if "parsing" in present:
        batch["parsing"] = _joined([unknown if p is None else p for p in present["parsing"]])
    else:
        batch["parsing"] = torch.from_numpy(unknown).expand(len(keys), -1, -1)
    for name, size in (("fit", FIT_SIZE), ("parameters", PARAMETERS_SIZE)):
        if name in present:
            absent = np.full(size, np.nan, np.float32)
            batch[name] = _joined([absent if values is None else values for values in present[name]])
    return batch


def floats(batch: Batch) -> Batch:
    """A packed batch as `collate` describes it, on the device where it is; any other batch as it is."""
    out = dict(batch)
    for name in PICTURES:
        if name in batch and batch[name].dtype == torch.uint8:
            values = torch.empty(batch[name].shape, device=batch[name].device)
            out[name] = values.copy_(batch[name]).div_(255)
    if "uv_visible" in batch:
        out["uv_visible"] = batch["uv_visible"].float()
    if "parsing" in batch:
        out["parsing"] = batch["parsing"].long()
    return out


def split_batch(batch: Batch, count: int) -> list[Batch]:
    """The batch in `count` parts of equally many samples, in order; tensors are views."""
    size = len(batch["key"]) // count
    return [
        {name: values[first : first + size] for name, values in batch.items()}
        for first in range(0, size * count, size)
    ]


def _joined(values: Sequence[Array | None] | Array) -> torch.Tensor:
    return torch.from_numpy(values if isinstance(values, np.ndarray) else np.stack(cast(Any, values)))


def _both_landmarks(points: Sequence[Array | None] | Array) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, 68, 2) and (N, 5, 2), NaN where unknown, of samples with 68, 5 or no points."""
    if isinstance(points, np.ndarray) and points.shape[1:] == (68, 2):
        points = points.astype(np.float32, copy=False)
        return torch.from_numpy(points), torch.from_numpy(five_from_68(points).astype(np.float32))
    all_68 = np.full((len(points), 68, 2), np.nan, np.float32)
    five = np.full((len(points), 5, 2), np.nan, np.float32)
    for place, known in enumerate(points):
        if known is not None and len(known) == 68:
            all_68[place] = known
        elif known is not None:
            five[place] = known
            all_68[place, [NOSE_TIP, LEFT_MOUTH_CORNER, RIGHT_MOUTH_CORNER]] = known[2:]
    complete = [place for place, known in enumerate(points) if known is not None and len(known) == 68]
    five[complete] = five_from_68(all_68[complete])
    return torch.from_numpy(all_68), torch.from_numpy(five)
