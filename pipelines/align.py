"""One released picture becomes one aligned 256 x 256 sample.

Pixels, landmarks, labels and camera move by one similarity.

A picture that needs no warp (already 256 x 256, aligned, upright JPEG) keeps its bytes.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facefill import samples
from facefill.alignment import align_image, apply_similarity, celeba_hq_similarity, resize_similarity
from facefill.errors import UserError
from facefill.face_parsing import NUM_CLASSES, UNKNOWN
from facefill.landmarks import five_from_68
from facefill.photographs import UPRIGHT, decode_photograph, exif_orientation, is_jpeg
from pipelines import storage
from pipelines.manifest import Rejected
from pipelines.prepared import Prepared
from pipelines.sources.records import RejectedSample, SourceRecord, SourceSample
from pipelines.uv_texture import prepare_texture

SIZE = samples.IMAGE_SIZE
LONGEST_STEM = 80  # what a tar header holds besides the data set's name and the extension
Array = NDArray[Any]


def prepare_records(records: Sequence[SourceRecord]) -> Iterator[Prepared | Rejected]:
    """Every record as an aligned sample, or the reason why not."""
    for record in records:
        try:
            yield prepare(record)
        except RejectedSample as reason:
            yield Rejected(record.key, record.source, str(reason))


def prepare(record: SourceRecord) -> Prepared:
    """Load and align one record. Raises RejectedSample for what is wrong with this picture alone."""
    if len(record.key.rsplit("/", 1)[-1]) > LONGEST_STEM:
        raise RejectedSample(f"the file name is longer than {LONGEST_STEM} letters")
    source = record.load()
    if source.is_uv_texture:
        return prepare_texture(record, source.picture)
    try:
        image = decode_photograph(source.picture, storage.name_of(record.source))
        similarity = similarity_of(source, image)
    except UserError as error:
        raise RejectedSample(str(error)) from None
    fields: dict[str, Array | bytes] = {}
    keep = is_jpeg(source.picture) and exif_orientation(source.picture) == UPRIGHT
    if keep and image.shape == (SIZE, SIZE, 3) and np.allclose(similarity, np.eye(2, 3), atol=1e-9):
        fields["image"] = source.picture
    else:
        fields["image"] = align_image(image, similarity, SIZE)
    if source.landmarks is not None:
        fields["landmarks"] = apply_similarity(source.landmarks, similarity)
    if source.parsing is not None:
        fields["parsing"] = align_parsing(source.parsing, image.shape[:2], similarity)
    if source.parameters is not None:
        fields["parameters"] = align_parameters(source.parameters, similarity)
    return Prepared(
        key=record.key,
        identity=record.identity,
        source=record.source,
        similarity=tuple(similarity.ravel().tolist()),
        landmarks=0 if source.landmarks is None else len(source.landmarks),
        members=samples.encode_sample(fields),
    )


def similarity_of(source: SourceSample, image: Array) -> NDArray[np.float64]:
    """Source pixels to aligned pixels. Raises RejectedSample or UserError."""
    height, width = image.shape[:2]
    if source.aligned:
        return resize_similarity(width, height, SIZE)
    if source.landmarks is None:
        raise RejectedSample(
            "no landmarks to align it by: set the dataset's `detect: true`, or name a csv of them"
        )
    five = five_from_68(source.landmarks) if len(source.landmarks) == 68 else source.landmarks
    column, row = five.mean(0)
    if not (0 <= column < width and 0 <= row < height):
        raise RejectedSample(
            f"the landmarks lie outside the picture of {width}x{height} (another variant's list?)"
        )
    return celeba_hq_similarity(five, SIZE)


def align_parsing(
    parsing: NDArray[np.uint8], shape: Iterable[int], similarity: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """The classes (256, 256) of the aligned picture, by majority of the area.

    parsing (h, w) covers a picture of `shape` (H, W) at any resolution.
    """
    height, width = shape
    columns, rows = width / parsing.shape[1], height / parsing.shape[0]
    to_picture = np.array([[columns, 0, (columns - 1) / 2], [0, rows, (rows - 1) / 2], [0, 0, 1]])
    classes = np.stack([(parsing == label) for label in range(NUM_CLASSES)], -1).astype(np.uint8) * 255
    share = align_image(classes, similarity @ to_picture, SIZE)
    return np.where(share.max(-1) < 64, UNKNOWN, share.argmax(-1)).astype(np.uint8)


def align_parameters(parameters: NDArray[np.float64], similarity: NDArray[np.float64]) -> NDArray[np.float64]:
    """The parameters (234,) of the aligned picture: coefficients as they are, the camera moved."""
    import torch

    from facefill.geometry.camera import WeakPerspective, transform_camera

    scale, pitch, yaw, roll, column, row = torch.from_numpy(parameters[-6:])
    camera = WeakPerspective(
        scale[None], torch.stack([pitch, yaw, roll])[None], torch.stack([column, row])[None]
    )
    moved = transform_camera(camera, torch.from_numpy(similarity)[None])
    pose = [moved.scale, moved.euler_xyz[0], moved.translation[0]]
    return np.concatenate([parameters[:-6], *(part.numpy() for part in pose)])
