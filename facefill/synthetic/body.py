"""All meshes of a picture as one: head and neck, the chest below, a hat."""

from dataclasses import dataclass

import numpy as np

from facefill.synthetic.arrays import Bytes, Floats, Integers, floats
from facefill.synthetic.clothing import Clothes, chest_below, hat_mesh, ring_triangles
from facefill.synthetic.head import SURFACE_CLOTH, SURFACE_HAT, TEXELS_PER_UM, Head
from facefill.synthetic.noise import smooth_step
from facefill.synthetic.scene import Scene


@dataclass(frozen=True)
class Body:
    """Head, chest and hat as one mesh, in the model frame."""

    positions: Floats
    triangles: Integers
    surface: Bytes
    map_position: Floats
    occlusion: Floats
    ear: Floats
    follow: Floats  # 1 moves with the head
    below: Floats  # (V, 2) micrometres below the necklines of the outermost and the inner layer


def assemble(vertices: Floats, head: Head, scene: Scene, clothes: Clothes) -> Body:
    """Head and neck, the chest grown from the border of the shoulders, and a hat if there is one."""
    border = head.shoulder_border
    chest = chest_below(vertices[border])
    rings, around, _ = chest.shape
    ids = np.concatenate((border, len(vertices) + np.arange(rings * around)))
    drop = (vertices[border, 1] - chest[..., 1])[..., None] * floats([0, TEXELS_PER_UM])
    chest_map = (head.map_position[border] + drop).reshape(-1, 2)
    chest_triangles = ids[ring_triangles(rings + 1, around)]
    count = rings * around
    follow = smooth_step(-150e3, head.lowest_of_face, head.canonical[:, 1])
    kind = [head.surface, np.full(len(chest_triangles), SURFACE_CLOTH, np.uint8)]
    positions, triangles = [vertices, chest.reshape(-1, 3)], [head.triangles, chest_triangles]
    maps, follows = [head.map_position, chest_map.astype(np.float32)], [follow, np.zeros(count, np.float32)]
    if scene.hat:
        hat, hat_triangles = hat_mesh(
            *head.anatomy.skull(vertices), head.anatomy.brow, scene.clothes_seed % 2 == 0
        )
        triangles.append(hat_triangles + len(vertices) + count)
        kind.append(np.full(len(hat_triangles), SURFACE_HAT, np.uint8))
        positions.append(hat)
        maps.append(hat[:, :2] / 500)
        follows.append(np.ones(len(hat), np.float32))
    total = sum(len(part) for part in positions)
    occlusion, ear = np.ones(total, np.float32), np.zeros(total, np.float32)
    occlusion[: len(vertices)], ear[: len(vertices)] = head.occlusion, head.ear
    below = np.full((total, 2), 99e3, np.float32)
    for layer, line in enumerate((clothes.neckline, clothes.inner_neckline)):
        below[: len(vertices), layer] = line.depth_below(head.canonical)
    return Body(
        np.concatenate(positions), np.concatenate(triangles), np.concatenate(kind), np.concatenate(maps),
        occlusion, ear, np.concatenate(follows), below,
    )  # fmt: skip


def vertex_normals(positions: Floats, triangles: Integers) -> Floats:
    corners = positions[triangles]
    face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    flat = triangles.ravel()
    normals = np.stack([np.bincount(flat, np.repeat(face[:, k], 3), len(positions)) for k in range(3)], 1)
    return (normals / (np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12)).astype(np.float32)
