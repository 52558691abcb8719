"""Paint skin, lips, brows and eyes into the UV atlas, from the mean head's shape: exactly mirror-symmetric.

Regions are soft weights on texels. They depend on the place of a texel on the mean face, in decimetres from
the head's origin, so they stay on the features of every face that the model makes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from facefill.geometry.head_asset import EYE
from facefill.geometry.head_model import HeadModel
from facefill.geometry.mesh import smooth_normals
from facefill.geometry.texture import fill_hidden
from facefill.geometry.uv_atlas import UVAtlas, flip_uv, uv_from_vertices

Field = NDArray[np.float64]
# The middle line of the image-right brow, just under landmarks 22..26: x, y and half thickness in decimetres.
BROW_X = (0.125, 0.246, 0.367, 0.472, 0.566)
BROW_Y = (0.326, 0.366, 0.380, 0.346, 0.311)
BROW_HALF = (0.030, 0.040, 0.034, 0.026, 0.010)
EYE_CENTRE = (0.305, 0.187)
NOSTRIL, NOSTRIL_RADII = (0.093, -0.245, 0.845), (0.034, 0.030, 0.036)
IRIS_RADIUS, PUPIL_RADIUS = 0.060, 0.023


@dataclass(frozen=True)
class Palette:
    """Colours in [0, 1] (linear in neither light nor ink: the plain RGB of a photograph)."""

    skin: tuple[float, float, float] = (0.76, 0.60, 0.51)
    lips: tuple[float, float, float] = (0.68, 0.45, 0.41)
    brows: tuple[float, float, float] = (0.24, 0.17, 0.13)
    iris: tuple[float, float, float] = (0.32, 0.22, 0.15)
    sclera: tuple[float, float, float] = (0.86, 0.83, 0.80)


def paint_albedo(regions: dict[str, Field], palette: Palette) -> Field:
    """An albedo (3, 192, 256) in [0, 1], steps of 1/255, from the weights of albedo_regions, in layers.

    Texels without a triangle are filled from their neighbours, so that bilinear samples have no dark rim.
    """
    skin = np.array(palette.skin)[:, None, None]
    albedo = np.broadcast_to(skin, (3, *regions["skin"].shape)).copy()
    albedo *= 1 + 0.035 * regions["mottle"]
    flushed = skin * np.array([1.04, 0.88, 0.87])[:, None, None]
    albedo = _over(albedo, flushed, 0.55 * regions["cheeks"])
    albedo = _over(albedo, skin * np.array([0.88, 0.80, 0.80])[:, None, None], 0.45 * regions["eye_sockets"])
    albedo *= 1 - 0.45 * regions["creases"]
    albedo = _over(
        albedo, np.array(palette.lips)[:, None, None] * (1 - 0.25 * regions["creases"]), regions["lips"]
    )
    albedo = _over(albedo, np.array(palette.brows)[:, None, None], 0.85 * regions["brows"])
    albedo = _over(albedo, skin * 0.22, 0.85 * regions["nostrils"])
    white = np.array(palette.sclera)[:, None, None] * (1 - 0.35 * regions["eye_rim"])
    albedo = _over(albedo, white, regions["eyes"])
    iris = np.array(palette.iris)[:, None, None] * (1 + 0.35 * regions["iris_fibres"])
    albedo = _over(albedo, iris * (1 - 0.6 * regions["iris_rim"]), regions["iris"])
    albedo = _over(albedo, np.array([0.03, 0.03, 0.03])[:, None, None], regions["pupil"])
    albedo = _over(albedo, np.array(palette.brows)[:, None, None] * 0.5, regions["lashes"])
    filled = fill_hidden(torch.from_numpy(albedo)[None], torch.from_numpy(regions["face"])[None, None])[0]
    even = (0.5 * (filled + flip_uv(filled))).clamp(0, 1).numpy()
    return np.round(even * 255) / 255  # steps, so that the last bit of a sine never changes the model


def region_fields(head: HeadModel, triangles: NDArray[np.int64], atlas: UVAtlas) -> dict[str, Field]:
    """Soft weights (192, 256) by name (default_model.albedo_regions); triangles: those of the face."""
    face = head.face_vertices
    points = head.mean[face].double() / 1e5
    place = texel_places(head, atlas)
    side, y, z = np.abs(place[0]), place[1], place[2]
    vertex_fields = torch.stack(
        [
            *_eye_fields(head, triangles),
            head.lips[face].double(),
            head.ears[face].double(),
            head.scalp[face].double(),
        ]
    )
    eye, near_eye, lips, ears, scalp = _texels(vertex_fields.T, atlas)
    crease = _texels(_creases(points.numpy(), triangles)[:, None], atlas)[0]
    covered = atlas.face.numpy().astype(np.float64)
    eyes = _ramp(eye, 0.25, 0.85)
    from_pupil = np.hypot(side - EYE_CENTRE[0], y - EYE_CENTRE[1])
    iris = eyes * iris_weight(side, y)
    brows = brow_weight(side, y) * _ramp(z, 0.2, 0.35)
    lips = _ramp(lips, 0.50, 1.0) * (1 - eyes)
    lashes = np.clip(near_eye, 0, 1) * np.where(y > EYE_CENTRE[1] - 0.005, 1.0, 0.35) * (1 - 0.8 * eyes)
    front = _ramp(z, 0.1, 0.5)
    fields = {
        "face": covered,
        "skin": (1 - lips) * (1 - eyes) * (1 - brows),
        "lips": lips,
        "brows": brows,
        "eyes": eyes,
        "iris": iris,
        "pupil": eyes * _ramp(from_pupil, PUPIL_RADIUS + 0.006, PUPIL_RADIUS - 0.006),
        "iris_rim": _ramp(from_pupil, IRIS_RADIUS - 0.018, IRIS_RADIUS),
        "iris_fibres": np.sin(9 * np.arctan2(y - EYE_CENTRE[1], side - EYE_CENTRE[0]))
        * _ramp(from_pupil, 0.0, 0.03),
        "eye_rim": 1 - _ramp(eye, 0.6, 1.0),
        "lashes": np.clip(lashes, 0, 1) * 0.8,
        "cheeks": np.exp(-(((side - 0.40) / 0.17) ** 2) - ((y + 0.14) / 0.15) ** 2) * front,
        "nose": np.exp(-((side / 0.17) ** 4) - ((y + 0.19) / 0.10) ** 2) * _ramp(z, 0.6, 0.8),
        "nostrils": _ramp(_ellipsoid(side, y, z, NOSTRIL, NOSTRIL_RADII), 1.25, 0.55),
        "eye_sockets": np.exp(-(((side - 0.31) / 0.17) ** 2) - ((y - 0.16) / 0.08) ** 2) * front,
        "beard": _beard(side, y, z) * (1 - lips),
        "forehead": _ramp(y, 0.38, 0.55) * front,
        "ears": _ramp(ears, 0.3, 0.7),
        "scalp": scalp,
        "creases": np.clip(crease, 0, 1),
        "mottle": _mottle(place[0], y, z),
    }
    return {name: value * covered for name, value in fields.items()}


def texel_places(head: HeadModel, atlas: UVAtlas) -> Field:
    """(3, 192, 256) where texels lie on the mean face: right, up and forward of the head's origin in dm."""
    return _texels(head.mean[head.face_vertices].double() / 1e5, atlas)


def _eye_fields(head: HeadModel, triangles: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
    """On face vertices: inside an eye opening (0.5 on the lid margin), and nearness to the lid margin."""
    kind = head.triangle_kind[head.face_triangle].numpy()
    count = len(head.face_vertices)
    in_eye, in_skin = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
    in_eye[triangles[kind == EYE]] = True
    in_skin[triangles[kind != EYE]] = True
    margin = (in_eye & in_skin).astype(np.float64)
    near = margin.copy()
    for strength in (0.9, 0.6):
        ring = np.zeros(count)
        for k in range(3):
            np.maximum.at(ring, triangles[:, k], strength * near[triangles[:, k - 1]])
            np.maximum.at(ring, triangles[:, k - 1], strength * near[triangles[:, k]])
        near = np.maximum(near, ring)
    return torch.from_numpy(in_eye - 0.5 * margin), torch.from_numpy(near)


def _creases(points: Field, triangles: NDArray[np.int64]) -> torch.Tensor:
    """How hollow the surface is at each vertex (V,): depth below its smoothed neighbourhood, 1 at 6 mm."""
    normals = smooth_normals(points, triangles)
    start, end = np.concatenate([triangles[:, [k, (k + 1) % 3]] for k in range(3)]).T
    count = len(points)
    degree = np.bincount(start, minlength=count)[:, None] + 1.0
    smooth = points
    for _ in range(24):
        total = np.stack([np.bincount(start, smooth[end, k], count) for k in range(3)], 1)
        smooth = (smooth + total) / degree
    depth = ((smooth - points) * normals).sum(1)
    return torch.from_numpy(np.clip((depth - 0.006) / 0.05, 0, 1))


def brow_weight(side: Field, y: Field, thickness: float = 1.0) -> Field:
    """Brow hair: an arch with fine strokes that lean outwards."""
    middle = np.interp(side, BROW_X, BROW_Y)
    half = thickness * np.interp(side, BROW_X, BROW_HALF)
    off = (y - middle) / half
    inside = _ramp(np.abs(off), 1.25, 0.45) * _ramp(side, 0.07, 0.13) * _ramp(side, 0.61, 0.53)
    lean = side - 0.5 * (y - middle)
    strokes = 0.88 + 0.07 * np.sin(173 * lean) + 0.05 * np.sin(311 * lean + 40 * y)
    return inside * strokes


def iris_weight(side: Field, y: Field) -> Field:
    """1 within the iris of an eye that looks ahead."""
    from_pupil = np.hypot(side - EYE_CENTRE[0], y - EYE_CENTRE[1])
    return _ramp(from_pupil, IRIS_RADIUS + 0.006, IRIS_RADIUS - 0.006)


def _ellipsoid(x: Field, y: Field, z: Field, centre: Sequence[float], radii: Sequence[float]) -> Field:
    """Distance from the centre of an ellipsoid, 1 on its surface."""
    return np.sqrt(sum(((v - c) / r) ** 2 for v, c, r in zip((x, y, z), centre, radii, strict=True)))


def _beard(side: Field, y: Field, z: Field) -> Field:
    """Where a beard grows: upper lip, chin, jaw and lower cheeks, not the lower neck."""
    lower = _ramp(y, -0.30, -0.36)
    cheek_line = -0.36 + 0.30 * np.clip((side - 0.30) / 0.40, 0, 1)
    below_line = _ramp(y - cheek_line, 0.05, -0.05)
    return lower * below_line * _ramp(y, -1.05, -0.9) * _ramp(z, -0.2, 0.0)


def _mottle(x: Field, y: Field, z: Field) -> Field:
    """Slow, mirror-symmetric unevenness of skin, about -1..1: a fixed sum of waves over the surface."""
    total = np.zeros_like(x)
    for k, frequency in enumerate((7.0, 13.0, 23.0, 41.0)):
        wave = np.cos(frequency * np.abs(x) + 1.3 * k) * np.sin(frequency * 1.1 * y + 2.1 * k)
        total += (wave + np.sin(frequency * 0.9 * z + 0.7 * k) * np.cos(frequency * 0.8 * y)) / (k + 1.5)
    return total / 2.0


def _ramp(value: Field, zero: float, one: float) -> Field:
    """Smooth step from 0 at `zero` to 1 at `one` (either order)."""
    t = np.clip((value - zero) / (one - zero), 0, 1)
    return t * t * (3 - 2 * t)


def _texels(values: torch.Tensor, atlas: UVAtlas) -> Field:
    """Vertex values (V, C) -> (C, 192, 256), mirror-exact up to the sign of odd fields."""
    mapped = uv_from_vertices(values[None], atlas)[0]
    flipped = flip_uv(mapped)
    odd = (mapped * flipped).sum(dim=(1, 2), keepdim=True) < 0
    return (0.5 * (mapped + torch.where(odd, -flipped, flipped))).numpy()


def _over(below: Field, above: Field, weight: Field) -> Field:
    return below * (1 - weight) + above * weight
