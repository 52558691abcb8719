"""Face parsing: three classes made of CelebAMask-HQ's nineteen labels.

The face is the skin with nose, eyes, brows and lips; hair, hats and glasses occlude it; the inner mouth, the
neck, ears, clothes and everything behind are background. A stored map is uint8; `UNKNOWN` marks pixels
without a label.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

FACE = 0
OCCLUDER = 1
BACKGROUND = 2
UNKNOWN = 255
NUM_CLASSES = 3

# Label 0..18 of the single-file label maps; the per-part files carry the same names and are painted in this
# order.
CELEBAMASK_PARTS = (
    "background",
    "skin",
    "nose",
    "eye_g",
    "l_eye",
    "r_eye",
    "l_brow",
    "r_brow",
    "l_ear",
    "r_ear",
    "mouth",
    "u_lip",
    "l_lip",
    "hair",
    "hat",
    "ear_r",
    "neck_l",
    "neck",
    "cloth",
)
FACE_PARTS = ("skin", "nose", "l_eye", "r_eye", "l_brow", "r_brow", "u_lip", "l_lip")
OCCLUDER_PARTS = ("hair", "hat", "eye_g")


def class_of_part(part: str) -> int:
    """FACE, OCCLUDER or BACKGROUND of one of `CELEBAMASK_PARTS`."""
    if part in FACE_PARTS:
        return FACE
    return OCCLUDER if part in OCCLUDER_PARTS else BACKGROUND


def parsing_from_parts(parts: Mapping[str, NDArray[np.bool_]]) -> NDArray[np.uint8]:
    """The class map of per-part masks (H, W); a part that is absent from the mapping is absent from the
    picture.

    `skin` covers eyes, lips and nose too, so what hides the face (an occluder) and the inner mouth are cut
    out of it rather than added to it. Raises ValueError for an unknown part or when there is none at all.
    """
    unknown = sorted(set(parts) - set(CELEBAMASK_PARTS))
    if unknown or not parts:
        raise ValueError(
            f"face parts: expected some of {', '.join(CELEBAMASK_PARTS)}, got {unknown or 'none'}"
        )
    shape = next(iter(parts.values())).shape

    def union(names: tuple[str, ...]) -> NDArray[np.bool_]:
        masks = [parts[name].astype(bool) for name in names if name in parts]
        return np.logical_or.reduce(masks) if masks else np.zeros(shape, bool)

    parsing = np.full(shape, BACKGROUND, np.uint8)
    parsing[union(FACE_PARTS) & ~union(("mouth",))] = FACE
    parsing[union(OCCLUDER_PARTS)] = OCCLUDER
    return parsing


def parsing_from_label_map(labels: NDArray[np.integer]) -> NDArray[np.uint8]:
    """The class map of a label map (H, W) with values 0..18; any other value becomes UNKNOWN."""
    classes = np.full(256, UNKNOWN, np.uint8)
    for label, part in enumerate(CELEBAMASK_PARTS):
        classes[label] = class_of_part(part)
    return classes[np.asarray(labels, np.uint8)]
