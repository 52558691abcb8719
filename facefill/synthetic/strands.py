"""Strands: growing hair over a skull, and drawing lines into a picture with a depth test.

Both are loops over short steps, compiled by numba; compiled code is kept beside this file between
processes. Points are in the model frame (micrometres, y up) while growing, in pixels and micrometres of
depth while drawing.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from facefill.synthetic.arrays import Bytes, Floats


@cache
def _grow_kernel() -> Callable[..., None]:
    import numba

    @numba.njit(cache=True, fastmath=False)
    def radius_at(skull: Any, x: float, y: float, z: float) -> float:
        """The skull's radius in a direction, bilinear: rows are polar angle, columns azimuth."""
        rows, columns = skull.shape
        length = np.sqrt(x * x + y * y + z * z) + 1e-6
        polar = np.arccos(min(1.0, max(-1.0, y / length))) / np.pi * (rows - 1)
        around = (np.arctan2(x, z) / (2 * np.pi) + 0.5) * columns
        r0 = min(rows - 2, int(polar))
        c0 = int(around) % columns
        fr, fc = polar - r0, around - int(around)
        c1 = (c0 + 1) % columns
        top = skull[r0, c0] * (1 - fc) + skull[r0, c1] * fc
        bottom = skull[r0 + 1, c0] * (1 - fc) + skull[r0 + 1, c1] * fc
        return top * (1 - fr) + bottom * fr

    @numba.njit(cache=True, fastmath=False)
    def grow(
        points: Any, direction: Any, length: Any, offset: Any, phase: Any, skull: Any, centre: Any,
        gravity: float, adhesion: float, wave: float, turns: float, coil: float, face_half_width: float,
        face_top: float,
    ) -> None:  # fmt: skip
        """Fill points (S, K, 3) from points[:, 0] on."""
        count, steps, _ = points.shape
        for s in range(count):
            step = length[s] / (steps - 1)
            px, py, pz = points[s, 0, 0], points[s, 0, 1], points[s, 0, 2]
            dx, dy, dz = direction[s, 0], direction[s, 1], direction[s, 2]
            for k in range(1, steps):
                dy -= gravity * min(1.0, 2.0 * k / steps) * step / 10000.0
                size = np.sqrt(dx * dx + dy * dy + dz * dz) + 1e-9
                dx, dy, dz = dx / size, dy / size, dz / size
                px, py, pz = px + dx * step, py + dy * step, pz + dz * step
                # Stay outside the skull: push out along the radius, and turn the growth along the surface.
                rx, ry, rz = px - centre[0], py - centre[1], pz - centre[2]
                r = np.sqrt(rx * rx + ry * ry + rz * rz) + 1e-6
                limit = radius_at(skull, rx, ry, rz) + offset[s] * min(1.0, 3.0 * k / steps)
                cling = adhesion
                if ry < -70000.0:
                    # Below the jaw hair hangs freely beside the neck.
                    ry, r = 0.0, np.sqrt(rx * rx + rz * rz) + 1e-6
                    limit, cling = 62000.0 + offset[s], 0.0
                nx, ny, nz = rx / r, ry / r, rz / r
                outward = dx * nx + dy * ny + dz * nz
                if r < limit:
                    px, py, pz = px + nx * (limit - r), py + ny * (limit - r), pz + nz * (limit - r)
                    outward = min(outward, 0.0)
                else:
                    outward = cling * (max(outward, 0.0) + min(1.0, (r - limit) / 15000.0))
                dx, dy, dz = dx - outward * nx, dy - outward * ny, dz - outward * nz
                # Long hair falls beside the face, as a curtain, never over it.
                if face_half_width > 0 and py < face_top and pz > 0:
                    reach = face_half_width * min(1.0, (face_top - py) / 20000.0 + 0.35)
                    side = 1.0 if px >= 0 else -1.0
                    if abs(px) < reach:
                        px = side * (abs(px) + 0.35 * (reach - abs(px)))
                        dx += 0.3 * side
                        dz -= 0.3
                points[s, k, 0], points[s, k, 1], points[s, k, 2] = px, py, pz
            if wave > 0:
                # Sway across the strand: u lies along the skull, w points away from it.
                lx, ly, lz = points[s, 0, 0], points[s, 0, 1], points[s, 0, 2]
                for k in range(1, steps):
                    px, py, pz = points[s, k, 0], points[s, k, 1], points[s, k, 2]
                    tx, ty, tz = px - lx, py - ly, pz - lz
                    lx, ly, lz = px, py, pz
                    wx, wz = px - centre[0], pz - centre[2]
                    size = np.sqrt(wx * wx + wz * wz) + 1e-3
                    wx, wz = wx / size, wz / size
                    ux, uy, uz = ty * wz, tz * wx - tx * wz, -ty * wx
                    size = np.sqrt(ux * ux + uy * uy + uz * uz) + 1e-3
                    along = k / (steps - 1)
                    angle = 2 * np.pi * turns * along * length[s] / 100000.0 + phase[s]
                    across = wave * min(1.0, 2.5 * along) * np.sin(angle)
                    away = wave * coil * min(1.0, 2.5 * along) * np.cos(angle)
                    points[s, k, 0] = px + across * ux / size + away * wx
                    points[s, k, 1] = py + across * uy / size
                    points[s, k, 2] = pz + across * uz / size + away * wz

    kernel: Callable[..., None] = grow
    return kernel


def grow(
    roots: Floats,  # (S, 3)
    direction: Floats,  # (S, 3) unit
    length: Floats,  # (S,) micrometres
    offset: Floats,  # (S,) distance kept from the skull, micrometres
    phase: Floats,  # (S,) of the wave, radians
    skull: Floats,  # (rows, columns) radius by polar angle and azimuth
    centre: Floats,  # (3,) of the skull
    steps: int,
    gravity: float,
    adhesion: float,
    wave: float,
    turns: float,
    coil: float,
    face_half_width: float,
    face_top: float,
) -> Floats:
    """(S, steps, 3) points of the strands.

    `gravity` turns the growth down per centimetre; `adhesion` (0..1) holds it to the skull; `wave` is
    micrometres of sway, `turns` waves per decimetre, `coil` 0 (flat waves) to 1 (curls). Strands in front of
    the skull and below `face_top` are held `face_half_width` away from the middle.
    """
    points = np.repeat(roots[:, None].astype(np.float32), steps, 1)
    _grow_kernel()(
        points, direction, length, offset, phase, skull, centre, gravity, adhesion, wave, turns, coil,
        face_half_width, face_top
    )  # fmt: skip
    return points


@cache
def _draw_kernel() -> Callable[..., None]:
    import numba

    @numba.njit(cache=True, fastmath=False)
    def draw(
        points: Any, colours: Any, width: Any, taper: float, code: int, bias: float, picture: Any, depth:
        Any, labels: Any
    ) -> None:  # fmt: skip
        height, columns, _ = picture.shape
        count, steps, _ = points.shape
        for s in range(count):
            for k in range(steps - 1):
                x0, y0, z0 = points[s, k, 0], points[s, k, 1], points[s, k, 2]
                x1, y1, z1 = points[s, k + 1, 0], points[s, k + 1, 1], points[s, k + 1, 2]
                dots = int(max(abs(x1 - x0), abs(y1 - y0))) + 1
                if dots > 4 * (height + columns):
                    continue
                steep = abs(y1 - y0) > abs(x1 - x0)
                across = width[s] * (1.0 - taper * (k / (steps - 1)) ** 2)
                half = 0.5 * across
                for dot in range(dots):
                    t = dot / dots
                    x, y, z = x0 + t * (x1 - x0), y0 + t * (y1 - y0), z0 + t * (z1 - z0)
                    middle = x if steep else y
                    first, last = int(np.floor(middle - half + 0.5)), int(np.floor(middle + half - 0.5))
                    for place in range(first, max(first, last) + 1):
                        column = place if steep else int(np.floor(x + 0.5))
                        row = int(np.floor(y + 0.5)) if steep else place
                        if column < 0 or row < 0 or column >= columns or row >= height:
                            continue
                        if z + bias <= depth[row, column]:
                            continue
                        depth[row, column] = z
                        labels[row, column] = code
                        for c in range(3):
                            picture[row, column, c] = colours[s, k, c] * (1 - t) + colours[s, k + 1, c] * t

    kernel: Callable[..., None] = draw
    return kernel


def draw(
    points: Floats,  # (S, K, 3) column, row, depth
    colours: Floats,  # (S, K, 3)
    width: Floats,  # (S,) pixels
    code: int,
    picture: Floats,  # (H, W, 3), changed
    depth: Floats,  # (H, W), changed
    labels: Bytes,  # (H, W), changed
    taper: float = 0.6,
    bias: float = 0.0,
) -> None:
    """Draw the lines where they are nearer than `depth` less `bias` micrometres; they set picture, depth
    and label.

    A line narrows to (1 - taper) of its width at its end. Lines are drawn in their order: no randomness,
    no threads.
    """
    # One array layout and element type, hence one compiled version.
    lines, tints, widths = (np.ascontiguousarray(part, np.float32) for part in (points, colours, width))
    _draw_kernel()(lines, tints, widths, float(taper), code, float(bias), picture, depth, labels)
