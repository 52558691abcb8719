"""The 68 iBUG landmarks: their groups, their mirror image, and the five points that alignment needs.

Landmarks are (68, 2) pixels [column, row], y down, pixel centres at integers. Left and right are the image's,
not the person's: `LEFT_EYE` is the eye that is drawn further left.
"""

import numpy as np
from numpy.typing import NDArray

JAW = tuple(range(17))
LEFT_BROW = tuple(range(17, 22))
RIGHT_BROW = tuple(range(22, 27))
BROWS = LEFT_BROW + RIGHT_BROW
NOSE = tuple(range(27, 36))
NOSE_TIP = 30
LEFT_EYE = tuple(range(36, 42))
RIGHT_EYE = tuple(range(42, 48))
EYES = LEFT_EYE + RIGHT_EYE
MOUTH = tuple(range(48, 68))
LEFT_MOUTH_CORNER = 48
RIGHT_MOUTH_CORNER = 54
INNER = tuple(range(17, 68))  # all but the jaw, which slides along the silhouette when the head turns

# MIRROR_68[i] is the landmark that point i becomes when the image is flipped left to right.
MIRROR_68 = (
    *range(16, -1, -1),  # jaw
    *range(26, 16, -1),  # brows
    *range(27, 31),  # bridge of the nose: on the axis
    *range(35, 30, -1),  # nostrils
    *(45, 44, 43, 42, 47, 46),  # left eye <- right eye
    *(39, 38, 37, 36, 41, 40),  # right eye <- left eye
    *range(54, 47, -1),  # outer lip, upper edge
    *range(59, 54, -1),  # outer lip, lower edge
    *range(64, 59, -1),  # inner lip, upper edge
    *range(67, 64, -1),  # inner lip, lower edge
)


def five_from_68(landmarks: NDArray[np.floating]) -> NDArray[np.float64]:
    """Left eye, right eye, nose tip, left and right mouth corner, in CelebA's order.

    landmarks (..., 68, 2) -> (..., 5, 2); an eye is the mean of its six contour points.
    """
    points = np.asarray(landmarks, np.float64)
    contours = points[..., LEFT_EYE[0] : RIGHT_EYE[-1] + 1, :].reshape(*points.shape[:-2], 2, 6, 2)
    rest = points[..., [NOSE_TIP, LEFT_MOUTH_CORNER, RIGHT_MOUTH_CORNER], :]
    return np.concatenate([contours.mean(-2), rest], axis=-2)
