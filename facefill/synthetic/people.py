"""People: what stays the same between two pictures of one person, drawn from a seed."""

from dataclasses import dataclass

import numpy as np

from facefill.synthetic.arrays import Floats, floats
from facefill.synthetic.hair import BALD, FEMALE_STYLES, MALE_STYLES, HairStyle, varied

IDENTITY_LIMIT = 2.2  # sigma

# Skin under white light, from the lightest to the darkest, as displayed (sRGB, 0..1): lightness,
# then hue by undertone.
TONES = floats(
    [
        (0.955, 0.815, 0.745), (0.925, 0.765, 0.675), (0.885, 0.710, 0.600), (0.825, 0.635, 0.515),
        (0.740, 0.540, 0.415), (0.640, 0.445, 0.325), (0.530, 0.350, 0.250), (0.420, 0.270, 0.195),
        (0.325, 0.210, 0.155),
    ]
)  # fmt: skip
HAIR_COLOURS = floats(
    [
        (0.07, 0.06, 0.06), (0.10, 0.075, 0.06), (0.17, 0.11, 0.08), (0.27, 0.175, 0.115),
        (0.38, 0.255, 0.165), (0.60, 0.45, 0.28), (0.80, 0.65, 0.43), (0.46, 0.20, 0.10),
        (0.62, 0.60, 0.58),
    ]
)  # fmt: skip
EYE_COLOURS = floats(
    [
        (0.17, 0.10, 0.06),
        (0.27, 0.165, 0.09),
        (0.36, 0.26, 0.13),
        (0.33, 0.38, 0.25),
        (0.32, 0.45, 0.55),
        (0.45, 0.52, 0.55),
    ]
)


@dataclass(frozen=True)
class Person:
    """One person. Amounts are 0..1, colours are albedo as displayed."""

    seed: int
    identity: Floats  # (199,) sigma
    male: bool
    age: float  # 0 young adult, 1 old
    tone: Floats  # (3,) skin
    darkness: float  # place on the scale of tones, 0 light .. 1 dark
    flush: float  # redness of cheeks, nose, ears
    freckles: float
    blemishes: int
    lips: Floats  # (3,)
    lip_paint: float  # lipstick
    eye_paint: float  # shadow and liner
    iris: Floats  # (3,)
    brow: Floats  # (3,)
    brow_thickness: float
    brow_density: float
    hair: HairStyle
    hair_colour: Floats  # (3,)
    beard: float  # 0 shaved, 0.35 stubble, 1 full
    moustache: float
    glasses: bool
    earrings: bool


def sample_person(seed: int) -> Person:
    """The person of a seed: the same number gives the same person everywhere."""
    draw = np.random.default_rng([seed, 1])
    male = bool(draw.random() < 0.5)
    age = float(draw.beta(1.1, 1.9))
    darkness = float(np.clip(draw.beta(1.05, 1.35), 0, 0.999))
    tone = blend(TONES, darkness) * np.exp(draw.normal(0, 0.02))
    undertone = draw.normal(0, 1)  # above 0 golden, below 0 rosy
    tone = tone * floats([1 - 0.004 * undertone, 1 + 0.008 * undertone, 1 - 0.035 * undertone])

    fair = (1 - darkness) ** 1.5
    colour_place = np.clip(draw.beta(1.0, 1.1) * (0.15 + 0.95 * fair), 0, 1) * 6
    hair_colour = blend(HAIR_COLOURS[:7], colour_place / 6)
    if draw.random() < 0.12 * fair:
        hair_colour = HAIR_COLOURS[7] * draw.uniform(0.7, 1.25)
    grey = smooth_grey(age, draw.normal(0, 0.12))
    hair_colour = hair_colour * (1 - grey) + HAIR_COLOURS[8] * draw.uniform(0.75, 1.2) * grey

    styles = MALE_STYLES if male else FEMALE_STYLES
    style = varied(styles[int(draw.integers(len(styles)))], draw)
    if male and age > 0.6 and draw.random() < 0.2:
        style = BALD
    lip_paint = 0.0 if male else float(draw.choice([0.0, 0.25, 0.7], p=[0.4, 0.35, 0.25]))
    natural_lips = tone * floats([0.88, 0.74, 0.77]) + floats([0.015, 0.0, 0.005])
    paint = floats([0.72, 0.16, 0.20]) * np.exp(draw.normal(0, [0.2, 0.5, 0.4])).astype(np.float32)
    lips = natural_lips * (1 - 0.75 * lip_paint) + np.clip(paint, 0.03, 0.85) * 0.75 * lip_paint
    beard_kind = draw.random() if male else 0.0
    beard = (
        float(np.interp(beard_kind, [0, 0.45, 0.7, 0.85, 1], [0.03, 0.12, 0.4, 0.8, 1.0])) if male else 0.0
    )
    brow = np.minimum(hair_colour * 0.7, tone * 0.5)
    return Person(
        seed=seed,
        identity=np.clip(0.9 * draw.standard_normal(199), -IDENTITY_LIMIT, IDENTITY_LIMIT).astype(np.float32),
        male=male,
        age=age,
        tone=np.clip(tone, 0.02, 0.98).astype(np.float32),
        darkness=darkness,
        flush=float(draw.uniform(0.15, 1.0) * (0.35 + 0.65 * fair)),
        freckles=float(max(0.0, draw.normal(-0.3, 0.6)) * fair),
        blemishes=int(draw.poisson(4)),
        lips=np.clip(lips, 0.02, 0.95).astype(np.float32),
        lip_paint=lip_paint,
        eye_paint=0.0 if male else float(draw.choice([0.15, 0.6, 1.0])),
        iris=_iris(draw, fair),
        brow=np.clip(brow, 0.02, 0.6).astype(np.float32),
        brow_thickness=float(np.clip(draw.normal(1.25 if male else 0.95, 0.18), 0.6, 1.8)),
        brow_density=float(draw.uniform(0.65, 1.0)),
        hair=style,
        hair_colour=np.clip(hair_colour, 0.03, 0.92).astype(np.float32),
        beard=beard,
        moustache=float(beard * draw.choice([0.3, 1.0], p=[0.2, 0.8])) if beard > 0.3 else beard,
        glasses=bool(draw.random() < 0.08),
        earrings=bool(not male and draw.random() < 0.4),
    )


def blend(colours: Floats, place: float) -> Floats:
    """The colour at `place` (0..1) along a list of colours."""
    at = place * (len(colours) - 1)
    low = min(int(at), len(colours) - 2)
    return colours[low] + (colours[low + 1] - colours[low]) * np.float32(at - low)


def smooth_grey(age: float, luck: float) -> float:
    """How grey hair is at an age."""
    return float(np.clip((age + luck - 0.55) / 0.35, 0, 1))


def _iris(draw: np.random.Generator, fair: float) -> Floats:
    place = float(np.clip(draw.beta(0.7, 0.9) * (0.25 + 1.0 * fair), 0, 1))
    colour: Floats = blend(EYE_COLOURS, place) * np.exp(draw.normal(0, 0.1)).astype(np.float32)
    return colour.astype(np.float32)
