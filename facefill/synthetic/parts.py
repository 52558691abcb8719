"""Codes of what a pixel of a written picture shows: the parts of CelebAMask-HQ in its own painting order.

The order is that of the released annotation: 0 is the background, later parts lie on
earlier ones. Left and right are the person's own, as in that annotation: LEFT_EYE is drawn on the image's
right.
"""

(
    BACKGROUND,
    SKIN,
    NOSE,
    GLASSES,
    LEFT_EYE,
    RIGHT_EYE,
    LEFT_BROW,
    RIGHT_BROW,
    LEFT_EAR,
    RIGHT_EAR,
    MOUTH,
    UPPER_LIP,
    LOWER_LIP,
    HAIR,
    HAT,
    EARRING,
    NECKLACE,
    NECK,
    CLOTH,
) = range(19)

# Parts that the annotators painted onto the skin without cutting it: the skin mask covers them too.
ON_SKIN = (NOSE, LEFT_EYE, RIGHT_EYE, LEFT_BROW, RIGHT_BROW, MOUTH, UPPER_LIP, LOWER_LIP)
