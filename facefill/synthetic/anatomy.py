"""Places on the head that hair, clothes and paint hold on to, measured on the mean head."""

from dataclasses import dataclass

import numpy as np

from facefill.synthetic.arrays import Bytes, Floats, Integers, floats

SKULL_ROWS, SKULL_COLUMNS = 48, 96


@dataclass(frozen=True)
class Anatomy:
    """Positions are canonical: on the mean head, micrometres."""

    canonical: Floats  # (V, 3)
    brow: Floats  # (3,) between the brows
    nose_base: Floats
    chin: Floats
    ear: Floats  # opening of the left (x < 0) or right ear, x >= 0 here
    face_half_width: float
    skull_centre: Floats
    top: float  # y of the crown
    scalp_triangles: Integers  # (F, 3)
    scalp_areas: Floats  # (F,) sum 1
    skull_vertices: Integers  # (rows, columns, K) vertices near each direction
    skull_weights: Floats  # (rows, columns, K)

    def skull(self, vertices: Floats) -> tuple[Floats, Floats]:
        """Centre (3,) and radius (rows, columns) of one person's skull, by polar angle and azimuth."""
        distance = np.linalg.norm(vertices - self.skull_centre, axis=1)
        radius = (distance[self.skull_vertices] * self.skull_weights).sum(2)
        return self.skull_centre, radius.astype(np.float32)


def measure(canonical: Floats, triangles: Integers, skin: Bytes, ears: Floats, landmarks: Floats) -> Anatomy:
    """The anatomy of a mean head (V, 3): `skin` (F,) tells its triangles of skin, `ears` (V,) its ears."""
    centre = floats([0, landmarks[36:48, 1].mean() + 8e3, -5e3])
    middle = canonical[triangles].mean(1)
    edges = canonical[triangles]
    area = np.linalg.norm(np.cross(edges[:, 1] - edges[:, 0], edges[:, 2] - edges[:, 0]), axis=1)
    no_ear = ears[triangles].max(1) < 0.3
    brow = (landmarks[21] + landmarks[22]) / 2
    scalp = (
        skin
        & no_ear
        & (middle[:, 1] > landmarks[48, 1])
        & ((middle[:, 1] > brow[1] + 25e3) | (middle[:, 2] < 40e3))
    )
    skull = np.unique(triangles[skin & no_ear & (middle[:, 1] > landmarks[8, 1])])
    table, weights = skull_table(canonical, centre, skull)
    right_ear = canonical[(ears > 0.5) & (canonical[:, 0] > 0)]
    return Anatomy(
        canonical=canonical,
        brow=brow,
        nose_base=landmarks[33],
        chin=landmarks[8],
        ear=floats(
            [np.percentile(right_ear[:, 0], 20), right_ear[:, 1].mean(), np.percentile(right_ear[:, 2], 75)]
        ),
        face_half_width=float(np.abs(landmarks[[0, 16], 0]).mean()),
        skull_centre=centre,
        top=float(canonical[:, 1].max()),
        scalp_triangles=triangles[scalp],
        scalp_areas=(area[scalp] / area[scalp].sum()).astype(np.float64),
        skull_vertices=table,
        skull_weights=weights,
    )


def skull_table(canonical: Floats, centre: Floats, usable: Integers) -> tuple[Integers, Floats]:
    """For each direction the four nearest usable vertices (rows, columns, 4) and their weights."""
    polar = np.linspace(0, np.pi, SKULL_ROWS)
    azimuth = (np.arange(SKULL_COLUMNS) / SKULL_COLUMNS - 0.5) * 2 * np.pi
    sine = np.sin(polar)[:, None]
    directions = np.stack(
        (
            sine * np.sin(azimuth),
            np.broadcast_to(np.cos(polar)[:, None], (SKULL_ROWS, SKULL_COLUMNS)),
            sine * np.cos(azimuth),
        ),
        2,
    )
    relative = canonical[usable] - centre
    unit = relative / np.linalg.norm(relative, axis=1, keepdims=True)
    cosine = directions.reshape(-1, 3) @ unit.T
    nearest = np.argpartition(-cosine, 4, axis=1)[:, :4]
    angle = np.arccos(np.clip(np.take_along_axis(cosine, nearest, 1), -1, 1))
    weight = 1 / (angle + 0.02)
    weight /= weight.sum(1, keepdims=True)
    shape = (SKULL_ROWS, SKULL_COLUMNS, 4)
    return usable[nearest].reshape(shape), weight.reshape(shape).astype(np.float32)
