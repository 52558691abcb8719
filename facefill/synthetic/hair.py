"""Hair: styles, hairlines and the strands that grow from a scalp.

A style is a handful of numbers; a head of hair is about 250 locks whose strands share most of their shape.
Lengths are in micrometres of the model frame (1 dm = 100,000).
"""

from dataclasses import dataclass, replace

import numpy as np

from facefill.synthetic.anatomy import Anatomy
from facefill.synthetic.arrays import Bytes, Floats, Integers, floats
from facefill.synthetic.strands import grow


@dataclass(frozen=True)
class HairStyle:
    """How hair grows. Directions are weights of growth along the surface."""

    name: str
    top: float = 0.0  # length on the crown
    sides: float = 0.0  # length at the temples and behind the ears
    fringe: float = 0.0  # length of the strands at the forehead
    lift: float = 0.0  # how far strands stand up from the scalp at the root
    sideways: float = 0.0  # away from the parting
    forward: float = 0.0  # to the forehead; negative: combed back
    down: float = 0.0  # along the surface at sides and back
    gravity: float = 0.0  # turn towards the ground per centimetre
    adhesion: float = 0.0  # how closely the hair follows the skull
    volume: float = 0.0  # thickness of the layer
    wave: float = 0.0  # sway across the strand
    turns: float = 0.0  # waves per decimetre
    coil: float = 0.0  # 0 flat waves, 1 curls
    parting: float = 0.0  # x of the parting
    disorder: float = 0.0  # spread of directions among locks
    strands: int = 0
    steps: int = 22  # points of a strand
    recession: float = 0.0  # 0 full hairline, 1 bald top

    @property
    def long(self) -> bool:
        """Whether the hair reaches below the chin."""
        return self.sides > 110_000


BALD = HairStyle("bald")
BUZZ = HairStyle(
    "buzz", 6e3, 4e3, 5e3, lift=0.8, forward=0.7, down=0.5, volume=1e3, disorder=0.4, strands=9000
)
SHORT = HairStyle(
    "short", 42e3, 17e3, 34e3, lift=0.6, sideways=0.3, forward=0.9, down=1.0, gravity=0.03, adhesion=0.12,
    volume=7e3, wave=1.5e3, turns=3, coil=0.5, parting=2e4, disorder=0.35, strands=7500,
)  # fmt: skip
QUIFF = HairStyle(
    "quiff", 60e3, 16e3, 62e3, lift=0.9, sideways=0.3, forward=-0.5, down=1.0, gravity=0.02, adhesion=0.16,
    volume=8e3, wave=2.5e3, turns=2, coil=0.3, parting=2e4, disorder=0.25, strands=7500,
)  # fmt: skip
SIDE_SWEPT = HairStyle(
    "side swept", 85e3, 26e3, 85e3, lift=0.45, sideways=1.0, forward=0.1, down=1.0, gravity=0.05,
    adhesion=0.3, volume=9e3, wave=2.5e3, turns=1.5, coil=0.3, parting=-32e3, disorder=0.15, strands=7500,
)  # fmt: skip
FRINGE = HairStyle(
    "fringe", 160e3, 140e3, 50e3, lift=0.3, sideways=0.25, forward=0.8, down=1.0, gravity=0.2,
    adhesion=0.35, volume=10e3, wave=2e3, turns=1.0, coil=0.3, parting=0, disorder=0.1, strands=8500,
)  # fmt: skip
BOB = HairStyle(
    "bob", 165e3, 130e3, 150e3, lift=0.4, forward=-0.25, sideways=1.0, down=0.8, gravity=0.2, adhesion=0.33,
    volume=11e3, wave=3e3, turns=1.0, coil=0.3, parting=15e3, disorder=0.1, strands=8500,
)  # fmt: skip
LONG = HairStyle(
    "long", 340e3, 300e3, 320e3, lift=0.4, forward=-0.25, sideways=1.0, down=0.8, gravity=0.2,
    adhesion=0.33, volume=12e3, wave=4e3, turns=0.6, coil=0.3, parting=3e3, disorder=0.1, strands=9000,
)  # fmt: skip
WAVY = HairStyle(
    "wavy", 300e3, 260e3, 270e3, lift=0.5, sideways=1.0, forward=-0.2, down=0.7, gravity=0.17, adhesion=0.28,
    volume=18e3, wave=9e3, turns=1.5, coil=0.7, parting=12e3, disorder=0.15, strands=9000, steps=36,
)  # fmt: skip
CURLY = HairStyle(
    "curly", 190e3, 150e3, 150e3, lift=0.8, sideways=0.9, forward=0.2, down=0.5, gravity=0.14, adhesion=0.2,
    volume=22e3, wave=7e3, turns=3.5, coil=1.0, parting=8e3, disorder=0.3, strands=7000, steps=48,
)  # fmt: skip
COILS = HairStyle(
    "coils", 42e3, 30e3, 32e3, lift=1.5, sideways=0.3, down=0.1, adhesion=0.02, volume=10e3, wave=5e3,
    turns=9.0, coil=1.0, disorder=0.6, strands=8000, steps=36,
)  # fmt: skip
TIED = HairStyle(
    "tied back", 170e3, 60e3, 190e3, lift=0.05, sideways=0.1, forward=-1.3, down=-0.35, gravity=0.0,
    adhesion=0.6, volume=5e3, wave=8e2, turns=1.5, coil=0.2, disorder=0.05, strands=8000,
)  # fmt: skip

MALE_STYLES = (BUZZ, SHORT, SHORT, QUIFF, QUIFF, SIDE_SWEPT, SIDE_SWEPT, COILS, WAVY, BALD)
FEMALE_STYLES = (BOB, FRINGE, LONG, LONG, WAVY, WAVY, CURLY, COILS, TIED, TIED, SIDE_SWEPT)


@dataclass(frozen=True)
class Hair:
    """The strands of one head, in the model frame."""

    points: Floats  # (S, K, 3)
    outward: Floats  # (S, K, 3) unit, away from the skull: the normal that light sees
    tint: Floats  # (S, K, 3) colour before light, darker near the scalp and in deep layers


def hairline_height(azimuth: Floats, anatomy: Anatomy, recession: float, roughness: Floats) -> Floats:
    """Lowest y at which hair grows, by azimuth in radians (0 = front, symmetric).

    Forehead, temples, sideburns before the ear, around it and down to the nape.
    """
    third = anatomy.brow[1] - anatomy.nose_base[1]
    forehead = anatomy.brow[1] + (0.98 + 0.5 * recession) * third
    temple = anatomy.brow[1] + (0.55 + 0.9 * recession) * third
    sideburn = anatomy.nose_base[1] + 0.75 * third
    above_ear = anatomy.ear[1] + 0.95 * third
    nape = anatomy.nose_base[1] - 0.35 * third
    degrees = np.abs(np.degrees(azimuth))
    ear = np.degrees(np.arctan2(abs(anatomy.ear[0]), anatomy.ear[2] - anatomy.skull_centre[2]))
    knots = [0, 20, 38, 52, ear - 27, ear - 20, ear - 8, ear + 12, ear + 28, 180]
    heights = [
        forehead, forehead * 0.99, temple + 0.25 * third, temple, sideburn + 0.2 * third, sideburn,
        above_ear - 0.2 * third, above_ear, anatomy.ear[1], nape,
    ]  # fmt: skip
    return np.interp(degrees, knots, heights).astype(np.float32) + roughness


def grow_hair(
    style: HairStyle, colour: Floats, vertices: Floats, anatomy: Anatomy, generator: np.random.Generator
) -> Hair | None:
    """The strands of `style` on a head of the given vertices (V, 3); None for a bald head."""
    if style.strands == 0:
        return None
    roots, normals, canonical = _roots(style, vertices, anatomy, generator)
    count = len(roots)
    centre, skull = anatomy.skull(vertices)

    # Strands of a lock start close to each other and share the lock's random numbers.
    locks = 260
    lock_of = _nearest(canonical, canonical[generator.permutation(count)[:locks]])
    lock_noise = generator.standard_normal((locks, 6)).astype(np.float32)[lock_of]
    own_noise = generator.standard_normal((count, 6)).astype(np.float32)

    upward = np.clip(normals[:, 1], 0, 1)
    front = np.clip((canonical[:, 2] - anatomy.skull_centre[2]) / 60e3, -1, 1)
    direction = np.zeros((count, 3), np.float32)
    direction[:, 0] = (
        style.sideways * np.tanh((canonical[:, 0] - style.parting) / 5e3) * (0.35 + 0.65 * upward)
    )
    direction[:, 1] = -style.down * (1 - upward) * np.where(front > 0.75, 0.3, 1)
    direction[:, 2] = style.forward * (0.3 + 0.7 * upward)
    direction += style.disorder * (0.6 * lock_noise[:, :3] + 0.25 * own_noise[:, :3])
    direction -= normals * (direction * normals).sum(1, keepdims=True)
    direction /= np.linalg.norm(direction, axis=1, keepdims=True) + 0.15
    direction += normals * (style.lift * (0.8 + 0.3 * lock_noise[:, 3:4] + 0.1 * own_noise[:, 3:4]))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True) + 1e-6

    is_fringe = smooth((canonical[:, 2] - anatomy.skull_centre[2]) / 45e3) * smooth(upward * 1.6)
    length = style.sides + (style.top - style.sides) * smooth(upward * 1.3)
    length = length + (style.fringe - length) * is_fringe
    length = length * np.exp(0.12 * lock_noise[:, 4] + 0.07 * own_noise[:, 4])
    layer = generator.random(count).astype(np.float32)
    # Long hair parts before the face; a cut fringe may lie on the forehead.
    curtain = anatomy.face_half_width if style.gravity > 0.1 or style.fringe > 70e3 else 0.0
    curtain_top = anatomy.brow[1] + (25e3 if style.fringe > 80e3 else -8e3)
    points = grow(
        roots, direction, length.astype(np.float32), (style.volume * (0.15 + layer)).astype(np.float32),
        (1.6 * lock_noise[:, 5] + 0.35 * own_noise[:, 5]).astype(np.float32), skull, centre, style.steps,
        style.gravity, style.adhesion, style.wave, style.turns, style.coil, float(curtain),
        float(curtain_top),
    )  # fmt: skip

    outward = points - centre
    outward[..., 1] *= np.where(points[..., 1] < centre[1], 0.25, 1.0)
    outward /= np.linalg.norm(outward, axis=2, keepdims=True)
    along = np.linspace(0, 1, style.steps, dtype=np.float32)
    depth = 0.5 + 0.5 * layer[:, None] * (0.55 + 0.45 * np.minimum(1, 3 * along))
    shade = depth * np.exp(0.10 * lock_noise[:, 0] + 0.13 * own_noise[:, 1])[:, None]
    warm = 1 + 0.05 * lock_noise[:, 1:2] * floats([1, 0, -1])
    lighter_ends = 1 + 0.18 * along[:, None] * floats([1.1, 1.0, 0.8])
    tint = colour * shade[..., None] * warm[:, None] * lighter_ends
    return Hair(points, outward.astype(np.float32), np.clip(tint, 0, 1).astype(np.float32))


def smooth(value: Floats) -> Floats:
    """Smooth step of 0..1."""
    part = np.clip(value, 0, 1)
    return part * part * (3 - 2 * part)


def scalp_mask(style: HairStyle, canonical: Floats, anatomy: Anatomy, roughness: Floats) -> Bytes:
    """Which canonical points (N, 3) of the head carry hair."""
    relative = canonical - anatomy.skull_centre
    azimuth = np.arctan2(relative[:, 0], relative[:, 2])
    line = hairline_height(azimuth, anatomy, style.recession, roughness)
    return canonical[:, 1] > line


def _roots(
    style: HairStyle, vertices: Floats, anatomy: Anatomy, generator: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """(S, 3) positions, unit outward directions and canonical positions of roots above the hairline."""
    triangles, weights = anatomy.scalp_triangles, anatomy.scalp_areas
    picks = generator.choice(len(triangles), size=style.strands * 2, p=weights)
    mix = generator.dirichlet((1, 1, 1), style.strands * 2).astype(np.float32)
    corners = triangles[picks]
    canonical = np.einsum("sk,skc->sc", mix, anatomy.canonical[corners])
    # The hairline is a soft, uneven edge: single hairs start lower or higher, locks make bays.
    relative = canonical - anatomy.skull_centre
    azimuth = np.arctan2(relative[:, 0], relative[:, 2])
    bays = sum(
        generator.normal(0, 1800) * np.sin(frequency * azimuth + generator.uniform(0, 6.3))
        for frequency in (7, 11, 17, 29)
    )
    roughness = bays + np.abs(generator.standard_normal(len(canonical))) * 3500 - 2500
    kept = np.flatnonzero(scalp_mask(style, canonical, anatomy, roughness.astype(np.float32)))[
        : style.strands
    ]
    roots = np.einsum("sk,skc->sc", mix[kept], vertices[corners[kept]])
    normals = roots - anatomy.skull_centre
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return roots.astype(np.float32), normals.astype(np.float32), canonical[kept].astype(np.float32)


def _nearest(points: Floats, centres: Floats) -> Integers:
    squared = (points**2).sum(1)[:, None] - 2 * points @ centres.T + (centres**2).sum(1)
    return squared.argmin(1)


def varied(style: HairStyle, generator: np.random.Generator) -> HairStyle:
    """The style as one person wears it."""
    factor = np.exp(generator.normal(0, 0.16, 6))
    side = generator.choice([-1.0, 1.0])
    return replace(
        style, top=style.top * factor[0], sides=style.sides * factor[0] * factor[1],
        fringe=style.fringe * min(factor[0], 1.2), lift=style.lift * factor[2],
        volume=style.volume * factor[3], wave=style.wave * factor[4], turns=style.turns * factor[5],
        parting=side * style.parting + generator.normal(0, 4e3), recession=style.recession,
    )  # fmt: skip
