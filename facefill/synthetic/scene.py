"""One photograph of a person: pose, expression, light, clothes, what stands behind, drawn from a seed."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from facefill.geometry.head_model import HeadModel, expression_from_units
from facefill.geometry.spherical_harmonics import sh_basis
from facefill.synthetic.arrays import Floats, floats

# A unit white light from one direction has these harmonics, times the basis at that direction without its
# attenuation by surface (the basis keeps π out of the constant term, hence 1/π on the others).
BAND = floats([1, *[1 / math.pi] * 3, *[1 / math.pi] * 5])
PEAK = 0.3381  # shading of the surface that faces such a light


EXPRESSION_LIMIT = 4.0  # sigma


def _facing_basis() -> Floats:
    """(K, 9) shading basis at normals that face the camera more or less."""
    side, up = np.meshgrid(np.linspace(-0.8, 0.8, 9), np.linspace(-0.7, 0.7, 9))
    x, y = side[side**2 + up**2 < 0.9], up[side**2 + up**2 < 0.9]
    normals = np.stack((x, y, np.sqrt(1 - x**2 - y**2)), 1).astype(np.float32)
    return sh_basis(torch.from_numpy(normals)).numpy()


FACING = _facing_basis()


@dataclass(frozen=True)
class Mood:
    """Face units and their range of activation; a unit with two sides gets both."""

    share: float
    smiling: bool
    mouth_open: bool
    units: tuple[tuple[str, float, float], ...]


MOODS = (
    Mood(0.24, False, False, (("mouthSmile", 0.05, 0.3),)),
    Mood(
        0.24, True, False, (("mouthSmile", 0.45, 0.75), ("cheekSquint", 0.1, 0.35), ("mouthDimple", 0.0, 0.4))
    ),
    Mood(
        0.28,
        True,
        True,
        (
            ("mouthSmile", 0.5, 0.85),
            ("jawOpen", 0.06, 0.22),
            ("mouthUpperUp", 0.3, 0.6),
            ("cheekSquint", 0.15, 0.45),
        ),
    ),
    Mood(
        0.12,
        False,
        True,
        (
            ("jawOpen", 0.06, 0.24),
            ("mouthFunnel", 0.0, 0.2),
            ("mouthStretch", 0.0, 0.3),
            ("browInnerUp", 0, 0.4),
        ),
    ),
    Mood(
        0.06,
        False,
        True,
        (("browInnerUp", 0.4, 0.9), ("browOuterUp", 0.3, 0.8), ("eyeWide", 0.1, 0.4), ("jawOpen", 0.1, 0.35)),
    ),
    Mood(0.06, False, False, (("browDown", 0.3, 0.8), ("mouthPress", 0.1, 0.5), ("mouthFrown", 0.0, 0.35))),
)


@dataclass(frozen=True)
class PoseRange:
    """Largest angles in degrees; yaw is uniform within, pitch and roll bell-shaped."""

    yaw: float
    pitch: float = 15.0
    roll: float = 15.0


@dataclass(frozen=True)
class Light:
    """Harmonics in the camera frame, and the strongest single light for highlights."""

    illumination: Floats  # (3, 9)
    direction: Floats  # (3,) unit, towards the light
    colour: Floats  # (3,)


@dataclass(frozen=True)
class Scene:
    """All that differs between two photographs of one person."""

    seed: int
    width: int
    height: int
    expression: Floats  # (29,) sigma
    smiling: bool
    mouth_open: bool
    euler_xyz: Floats  # (3,) pitch, yaw, roll in radians
    scale: float  # pixels per micrometre
    translation: Floats  # (2,) column, row of the model's origin
    gaze: Floats  # (2,) micrometres of iris shift, right and up
    light: Light
    backdrop_seed: int
    clothes_seed: int
    glasses: bool
    hat: bool
    microphone: bool
    blur: float  # pixels
    noise: float  # standard deviation, 0..1 scale
    quality: int  # of the JPEG


def sample_scene(
    seed: int,
    width: int,
    height: int,
    eye_distance: tuple[float, float],
    pose: PoseRange,
    model: HeadModel,
    tone: Floats,
) -> Scene:
    """The photograph of a seed; `eye_distance` is the range in pixels between the eyes of a frontal face."""
    draw = np.random.default_rng([seed, 3])
    yaw = math.radians(pose.yaw) * draw.uniform(-1, 1)
    pitch = math.radians(pose.pitch) * np.clip(draw.normal(0, 0.45), -1, 1)
    roll = math.radians(pose.roll) * np.clip(draw.normal(0, 0.4), -1, 1)
    scale = draw.uniform(*eye_distance) / 61_000
    place = np.array([width * (0.5 + draw.normal(0, 0.03)), height * (0.46 + draw.normal(0, 0.025))])
    mood = MOODS[int(draw.choice(len(MOODS), p=[mood.share for mood in MOODS]))]
    return Scene(
        seed=seed,
        width=width,
        height=height,
        expression=sample_expression(draw, mood, model),
        smiling=mood.smiling,
        mouth_open=mood.mouth_open,
        euler_xyz=floats([pitch, yaw, roll]),
        scale=float(scale),
        translation=place.astype(np.float32),
        gaze=(np.clip(draw.normal(0, 0.6, 2), -1.3, 1.3) * [2600, 900]).astype(np.float32),
        light=sample_light(draw, exposure_for(tone)),
        backdrop_seed=int(draw.integers(2**31)),
        clothes_seed=int(draw.integers(2**31)),
        glasses=bool(draw.random() < 0.03),
        hat=bool(draw.random() < 0.05),
        microphone=bool(draw.random() < 0.04),
        blur=float(draw.choice([0.3, 0.5, 0.8])),
        noise=float(draw.uniform(0.002, 0.012)),
        quality=int(draw.integers(86, 96)),
    )


def sample_expression(draw: np.random.Generator, mood: Mood, model: HeadModel) -> Floats:
    """(29,) sigma: the face units of a mood, a little more of it on one side, and a trace of everything."""
    lopsided = float(np.clip(draw.normal(0, 0.12), -0.3, 0.3))
    activations: dict[str, float] = {}
    for unit, low, high in (
        *mood.units,
        ("eyeWide", 0.05, 0.45),
        ("eyeSquint", 0.0, 0.15),
        ("browOuterUp", 0.0, 0.25),
    ):
        strength = float(draw.uniform(low, high))
        for side, sign in (("Left", 1), ("Right", -1), ("", 0)):
            if unit + side in model.unit_names:
                activations[unit + side] = activations.get(unit + side, 0.0) + strength * (
                    1 + sign * lopsided
                )
    expression = expression_from_units(model, activations).numpy() + 0.15 * draw.standard_normal(29)
    return np.clip(expression, -EXPRESSION_LIMIT, EXPRESSION_LIMIT).astype(np.float32)


def exposure_for(tone: Floats) -> float:
    """Factor on all light for skin of a tone (3,): a photographer goes half way to a middle grey."""
    return float((0.60 / float(tone.mean())) ** 0.45)


def sample_light(draw: np.random.Generator, exposure: float) -> Light:
    """Ambient light and one or two lamps or a window, from the front, above or hard from a side."""
    kind = draw.choice(4, p=[0.4, 0.3, 0.2, 0.1])  # frontal, oblique, side, two sides
    azimuth = math.radians(
        draw.choice([-1, 1]) * draw.uniform(*((0, 25), (25, 60), (60, 100), (70, 110))[kind])
    )
    elevation = math.radians(draw.uniform(-5, 60) * (1 - 0.4 * (kind >= 2)))
    ambient_share = draw.uniform(*((0.40, 0.65), (0.30, 0.52), (0.22, 0.42), (0.28, 0.42))[kind])
    warmth = draw.normal(0, 1)
    lamp = floats([1 + 0.05 * warmth, 1.0, 1 - 0.07 * warmth])
    sky = floats([1 - 0.03 * warmth, 1.0, 1 + 0.05 * warmth]) * np.exp(draw.normal(0, 0.02, 3)).astype(
        np.float32
    )
    key = direction_of(azimuth, elevation)
    brightness = exposure * draw.uniform(0.80, 1.02)
    lamps = [(key, lamp * (1 - ambient_share) * (1.45 if kind >= 2 else 1.15))]
    if kind == 3:
        lamps.append((direction_of(-azimuth, elevation * 0.5), lamp[::-1] * (1 - ambient_share) * 0.8))
    if draw.random() < 0.35:
        lamps.append((direction_of(draw.uniform(-math.pi, math.pi), 0.2), sky * draw.uniform(0.03, 0.18)))
    sky_up = draw.uniform(0.0, 0.16)  # light from above is stronger than from the ground
    illumination = np.zeros((3, 9), np.float32)
    illumination[:, 0] = sky * ambient_share / 0.28209
    illumination[:, 2] = sky * ambient_share * sky_up / 1.02333
    for towards, colour in lamps:
        illumination += colour[:, None] / PEAK * BAND * harmonics(towards)
    # Exposure is measured on the surfaces that the camera sees.
    brightness /= float(np.clip(FACING @ illumination.mean(0), 0.1, None).mean())
    return Light(illumination * np.float32(brightness), key, lamps[0][1] * np.float32(brightness))


def direction_of(azimuth: float, elevation: float) -> Floats:
    """(3,) unit vector: azimuth to the image's right, elevation up, (0, 0) to the camera."""
    flat = math.cos(elevation)
    return floats([flat * math.sin(azimuth), math.sin(elevation), flat * math.cos(azimuth)])


def harmonics(direction: Floats) -> Floats:
    """(9,) plain real spherical harmonics of a direction, in the order of the shading basis."""
    x, y, z = (float(value) for value in direction)
    first, second = math.sqrt(3 / (4 * math.pi)), 3 * math.sqrt(5 / (12 * math.pi))
    zenith = 0.5 * math.sqrt(5 / (4 * math.pi))
    return floats(
        [
            1 / math.sqrt(4 * math.pi), first * z, first * y, first * x,
            zenith * (2 * z * z - x * x - y * y), second * y * z, second * x * z, second * x * y,
            0.5 * second * (x * x - y * y),
        ]
    )  # fmt: skip


def turn_light(illumination: Floats, angle: float) -> Floats:
    """Harmonics (3, 9) after the picture is turned by `angle` radians, clockwise to the eye."""
    c, s = math.cos(-angle), math.sin(-angle)
    c2, s2 = math.cos(-2 * angle), math.sin(-2 * angle)
    turned = illumination.copy()
    for x, y, cosine, sine in ((3, 2, c, s), (6, 5, c, s)):
        turned[:, x] = cosine * illumination[:, x] - sine * illumination[:, y]
        turned[:, y] = sine * illumination[:, x] + cosine * illumination[:, y]
    # x² - y² and x·y turn twice as fast; their basis values are sin 2a / 2 and cos 2a / 2 times one constant.
    turned[:, 8] = c2 * illumination[:, 8] - s2 * illumination[:, 7]
    turned[:, 7] = s2 * illumination[:, 8] + c2 * illumination[:, 7]
    return turned
