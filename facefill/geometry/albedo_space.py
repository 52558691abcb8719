"""How skins differ, as a linear space around the painted mean: what a photometric fit chooses from.

A painted albedo is a sum of regions times colours, so its space needs no training pictures: each component is
one region of the face times the direction in which people's colours differ there, one standard deviation
long. Tones, lips and brows spread as those of the synthetic people; the hollows that light rarely reaches
(eye sockets, beside the nose, under the lip) are part of the skin here, for shading by normals knows no
shadows.
"""

import numpy as np
from numpy.typing import NDArray

from facefill.geometry.albedo_painting import Palette, brow_weight, iris_weight

Field = NDArray[np.float64]
Colour = tuple[float, float, float]
STEPS = 4096.0  # per unit of albedo: the last bit of an exponential never changes the model

# Regions: how many standard deviations photographed faces lie from the painted ones on the whole, and the
# colour direction of one.
REGIONS: tuple[tuple[str, float, Colour], ...] = (
    ("lips", 0.15, (-0.05, -0.075, -0.064)),
    ("lips", 0.15, (0.04, -0.03, -0.015)),
    ("brows", 0.5, (0.11, 0.09, 0.075)),
    ("brows", 0.0, (0.03, -0.01, -0.03)),
    ("beard", 0.0, (-0.13, -0.11, -0.09)),
    ("cheeks", -0.6, (0.02, -0.04, -0.035)),
    ("eye_sockets", 1.0, (-0.09, -0.09, -0.08)),
    ("iris", 0.0, (0.062, 0.11, 0.13)),
    ("sclera", 0.0, (0.10, 0.10, 0.10)),
    ("lashes", 0.0, (-0.12, -0.12, -0.12)),
    ("nostrils", 0.0, (-0.08, -0.07, -0.06)),
    ("forehead", 0.0, (0.04, 0.035, 0.03)),
)
# Soft spots on both sides of the face: middle and radii in decimetres (across, up), then as above.
SPOTS: tuple[tuple[float, float, float, float, float, Colour], ...] = (
    (0.30, 0.250, 0.13, 0.030, 0.9, (-0.09, -0.09, -0.08)),  # crease of the upper lid, eye shadow
    (0.30, 0.095, 0.12, 0.035, 0.3, (-0.05, -0.05, -0.04)),  # under the eye
    (0.13, 0.200, 0.04, 0.080, 0.5, (-0.06, -0.06, -0.06)),  # between eye and bridge
    (0.00, -0.210, 0.08, 0.060, 0.4, (0.06, 0.06, 0.06)),  # tip of the nose
    (0.19, -0.170, 0.03, 0.100, -0.4, (-0.06, -0.06, -0.05)),  # beside the nose
    (0.00, -0.300, 0.12, 0.030, 0.4, (-0.08, -0.07, -0.06)),  # under the nose
    (0.00, -0.370, 0.16, 0.045, 0.5, (-0.07, -0.06, -0.05)),  # moustache
    (0.26, -0.400, 0.04, 0.110, 0.5, (-0.05, -0.045, -0.04)),  # fold from nose to mouth
    (0.00, -0.500, 0.22, 0.016, 0.3, (-0.10, -0.09, -0.08)),  # where the lips meet
    (0.00, -0.560, 0.12, 0.030, 0.0, (0.05, 0.045, 0.045)),  # shine of the lower lip
    (0.00, -0.650, 0.12, 0.035, 0.3, (-0.05, -0.045, -0.04)),  # under the lower lip
)
TONES: tuple[Colour, ...] = ((0.184, 0.183, 0.181), (0.028, 0.004, -0.030), (-0.010, 0.016, -0.007))
BEARD_TOP, BEARD_FADE = -0.25, 0.3  # decimetres
THICKER_BROW, GAZE = 1.5, 0.02  # times the half thickness; decimetres


def skin_space(
    regions: dict[str, Field], place: Field, painted: Field, palette: Palette
) -> tuple[Field, Field]:
    """Mean (3, 192, 256) and components (A, 3, 192, 256), in steps of 1 / STEPS.

    regions: of albedo_regions; place (3, 192, 256): of texel_places; painted (3, 192, 256): of paint_albedo.
    """
    side, up = np.abs(place[0]), place[1]
    # A beard thins out towards the cheeks: a hard edge would draw a line where a shadow is explained by it.
    beard = regions["beard"] * np.clip((BEARD_TOP - up) / BEARD_FADE, 0, 1)
    weights = {**regions, "sclera": regions["eyes"] - regions["iris"], "beard": beard}
    on_skin = regions["face"] * (1 - regions["eyes"]) * (1 - 0.7 * regions["brows"])
    skin = np.array(palette.skin)[:, None, None]
    components = [on_skin * (painted / skin) * _coloured(tone) for tone in TONES]
    usual = [0.0] * len(TONES)
    for name, amount, colour in REGIONS:
        components.append(weights[name] * _coloured(colour))
        usual.append(amount)
    for x, y, wide, high, amount, colour in SPOTS:
        spot = np.exp(-0.5 * (((side - x) / wide) ** 2 + ((up - y) / high) ** 2))
        components.append(spot * on_skin * _coloured(colour))
        usual.append(amount)
    mean = painted + sum(amount * part for amount, part in zip(usual, components, strict=True))
    ink = (np.array(palette.brows)[:, None, None] - skin) * 0.6
    components.append(
        (brow_weight(side, up, THICKER_BROW) - brow_weight(side, up, 1.0)) * ink * regions["face"]
    )
    dark = (np.array(palette.iris) - np.array(palette.sclera))[:, None, None]
    for across, rise in ((GAZE, 0.0), (0.0, GAZE)):
        # both eyes look the same way, so this one is no mirror image of itself
        sign = np.sign(place[0])
        ahead = iris_weight(side - sign * across, up - rise)
        behind = iris_weight(side + sign * across, up + rise)
        components.append(0.5 * (ahead - behind) * regions["eyes"] * dark)
    return _in_steps(np.clip(mean, 0, 1)), _in_steps(np.stack(components) * regions["face"])


def _in_steps(values: Field) -> Field:
    return np.round(values * STEPS) / STEPS


def _coloured(colour: Colour) -> Field:
    return np.array(colour)[:, None, None]
