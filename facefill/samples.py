"""Every field that a stored sample can have: its name, its file extension, how it is written and read.

A sample is a set of tar members `{key}.{extension}` with one key, for example `celeba/000001.image.jpg`.
Pictures are JPEG at quality 95 without chroma subsampling (or the original bytes), maps are lossless, arrays
are .npy float32. Ranges: pictures RGB uint8 0..255 (a batch has floats in [0, 1]); parsing the classes of
`face_parsing`; landmarks pixels of the 256 x 256 image, pixel centres at integers, y down.
"""

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
    """.npy bytes -> array; raises ValueError for pickles."""
    return np.load(io.BytesIO(data), allow_pickle=False)


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
    uv_texture, uv_albedo (N,3,192,256) float; uv_visible (N,1,192,256) float; fit (N,261); parameters
    (N,234), NaN where absent; seed (N,) int64; key: list of str. The uv fields and the fit must be in all
    samples or in none: UserError otherwise.
    """
    landmarks, five = zip(*(_both_landmarks(sample.get("landmarks")) for sample in samples), strict=True)
    batch: Batch = {
        "key": [sample["key"] for sample in samples],
        "seed": torch.tensor([sample["seed"] for sample in samples], dtype=torch.int64),
        "landmarks": torch.from_numpy(np.stack(landmarks)),
        "five": torch.from_numpy(np.stack(five)),
    }
    pictures = ("image", "uv_texture", "uv_albedo")
    for name in (*pictures, "uv_visible", "fit"):
        present = [sample[name] for sample in samples if name in sample]
        if present and len(present) < len(samples):
            lacking = next(sample["key"] for sample in samples if name not in sample)
            raise UserError(f"sample {lacking} has no {name} and others have: build these shards again")
        if present:
            stacked = torch.from_numpy(np.stack(present))
            batch[name] = _channels_first(stacked) if name in pictures else stacked.float()
    if "uv_visible" in batch:
        batch["uv_visible"] = batch["uv_visible"][:, None]
    unknown = np.full((IMAGE_SIZE, IMAGE_SIZE), UNKNOWN, np.uint8)
    batch["parsing"] = torch.from_numpy(np.stack([s.get("parsing", unknown) for s in samples])).long()
    if any("parameters" in sample for sample in samples):
        absent = np.full(PARAMETERS_SIZE, np.nan, np.float32)
        batch["parameters"] = torch.from_numpy(np.stack([s.get("parameters", absent) for s in samples]))
    return batch


def _channels_first(pictures: torch.Tensor) -> torch.Tensor:
    return pictures.permute(0, 3, 1, 2).contiguous().float().div_(255)


def _both_landmarks(landmarks: Array | None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    all_68, five = np.full((68, 2), np.nan, np.float32), np.full((5, 2), np.nan, np.float32)
    if landmarks is not None and len(landmarks) == 68:
        all_68[:], five[:] = landmarks, five_from_68(landmarks)
    elif landmarks is not None:
        five[:] = landmarks
        all_68[[NOSE_TIP, LEFT_MOUTH_CORNER, RIGHT_MOUTH_CORNER]] = landmarks[2:]
    return all_68, five
