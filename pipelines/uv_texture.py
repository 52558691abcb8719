"""A UV texture that others unwrapped becomes a sample without a photograph: resized, in its own layout."""

import numpy as np

from facefill import samples
from facefill.errors import UserError
from facefill.photographs import decode_photograph
from pipelines import storage
from pipelines.prepared import Prepared
from pipelines.sources.records import RejectedSample, SourceRecord

UV_HEIGHT, UV_WIDTH = 192, 256
DARKEST_SKIN = 4  # of 255: below it in all colours a texel is taken for unseen, JPEG's ringing included


def prepare_texture(record: SourceRecord, picture: bytes) -> Prepared:
    """`uv_texture` and `uv_visible` of a texture of any size from the atlas's on.

    A texel is visible if everything that it is made of is. Raises RejectedSample for a smaller picture or
    one that cannot be read.
    """
    import cv2

    try:
        image = decode_photograph(picture, storage.name_of(record.source))
    except UserError as error:
        raise RejectedSample(str(error)) from None
    height, width = image.shape[:2]
    if height < UV_HEIGHT or width < UV_WIDTH:
        raise RejectedSample(f"a texture of {width}x{height}; expected at least {UV_WIDTH}x{UV_HEIGHT}")
    seen = (image.max(-1) >= DARKEST_SKIN).astype(np.float32)
    texture = cv2.resize(image, (UV_WIDTH, UV_HEIGHT), interpolation=cv2.INTER_AREA)
    share = cv2.resize(seen, (UV_WIDTH, UV_HEIGHT), interpolation=cv2.INTER_AREA)
    visible = share > 0.999
    if not visible.any():
        raise RejectedSample("the texture is black")
    columns, rows = UV_WIDTH / width, UV_HEIGHT / height
    return Prepared(
        key=record.key,
        identity=record.identity,
        source=record.source,
        similarity=(columns, 0.0, (columns - 1) / 2, 0.0, rows, (rows - 1) / 2),
        landmarks=0,
        members=samples.encode_sample({"uv_texture": np.asarray(texture, np.uint8), "uv_visible": visible}),
    )
