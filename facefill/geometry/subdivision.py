"""Catmull-Clark subdivision of quad meshes: one linear operator, so that a basis is subdivided like a shape.

Every step is an element-wise sum in a fixed order (no BLAS), so the result is the same to the last bit on
every machine.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Reals = NDArray[np.float64]


@dataclass(frozen=True)
class Subdivision:
    """One Catmull-Clark step for a fixed topology.

    vertex_count: number V of old vertices; quads: (Q, 4) old faces; edges: (E, 2) old edges, smaller id
    first; edge_quads: (E, 2) the faces of each edge, twice the same on a border; fine_quads: (4Q, 4) new
    faces, the children of face q are rows 4q..4q+3. New vertices are V old ones, then E edge points, then Q
    face points.
    """

    vertex_count: int
    quads: Integers
    edges: Integers
    edge_quads: Integers
    fine_quads: Integers


def plan_subdivision(quads: Integers, vertex_count: int) -> Subdivision:
    """Find the edges and the new faces of a quad mesh (each edge belongs to one or two faces)."""
    sides = np.stack([quads, np.roll(quads, -1, axis=1)], axis=-1).reshape(-1, 2)
    edges, side_edge = np.unique(np.sort(sides, axis=1), axis=0, return_inverse=True)
    side_edge = side_edge.reshape(-1)
    order = np.argsort(side_edge, kind="stable")
    first = np.searchsorted(side_edge[order], np.arange(len(edges)))
    uses = np.bincount(side_edge, minlength=len(edges))
    if uses.max() > 2:
        raise ValueError("an edge belongs to more than two faces")
    edge_quads = np.stack([order[first], order[first + uses - 1]], axis=1) // 4
    corner_edge = side_edge.reshape(-1, 4) + vertex_count
    centre = np.arange(len(quads)) + vertex_count + len(edges)
    children = [
        np.stack([quads[:, k], corner_edge[:, k], centre, corner_edge[:, k - 1]], axis=1) for k in range(4)
    ]
    fine_quads = np.stack(children, axis=1).reshape(-1, 4)
    return Subdivision(vertex_count, quads, edges, edge_quads, fine_quads)


def subdivide(plan: Subdivision, values: Reals) -> Reals:
    """Values (V, C) at the old vertices -> (V + E + Q, C) at the new ones (Catmull & Clark 1978).

    Border edges use the cubic B-spline rule; vertices without faces keep their values.
    """
    corners = [values[plan.quads[:, k]] for k in range(4)]
    centre = 0.25 * ((corners[0] + corners[2]) + (corners[1] + corners[3]))
    ends = values[plan.edges[:, 0]] + values[plan.edges[:, 1]]
    left, right = centre[plan.edge_quads[:, 0]], centre[plan.edge_quads[:, 1]]
    border = plan.edge_quads[:, 0] == plan.edge_quads[:, 1]
    middle = np.where(border[:, None], 0.5 * ends, 0.25 * (ends + (left + right)))

    quad_count = _count(plan.quads.reshape(-1), plan.vertex_count)
    edge_count = _count(plan.edges.reshape(-1), plan.vertex_count)
    quad_sum = _scatter(plan.quads, np.repeat(centre[:, None], 4, axis=1), plan.vertex_count)
    edge_sum = _scatter(plan.edges, np.repeat(ends[:, None], 2, axis=1), plan.vertex_count)
    valence = np.maximum(quad_count, 1)[:, None]
    inner = (quad_sum / valence + edge_sum / valence + (valence - 3) * values) / valence
    border_ends = np.where(border[:, None], ends, 0.0)
    border_sum = _scatter(plan.edges, np.repeat(border_ends[:, None], 2, axis=1), plan.vertex_count)
    on_border = (edge_count != quad_count)[:, None]
    smooth_border = 0.5 * values + 0.125 * border_sum
    corner = np.where(on_border, smooth_border, inner)
    corner = np.where((quad_count == 0)[:, None], values, corner)
    return np.concatenate([corner, middle, centre])


def subdivide_linearly(plan: Subdivision, values: Reals) -> Reals:
    """Values (V, C) -> (V + E + Q, C): old values kept, edge and face points the plain means. For masks."""
    middle = 0.5 * (values[plan.edges[:, 0]] + values[plan.edges[:, 1]])
    centre = 0.25 * sum(values[plan.quads[:, k]] for k in range(4))
    return np.concatenate([values, middle, centre])


def mirror_of_subdivision(plan: Subdivision, mirror: Integers) -> Integers:
    """Mirror partner of each new vertex, from the partners (V,) of the old ones."""
    edge_partner = _rows_in(plan.edges, np.sort(mirror[plan.edges], axis=1))
    quad_partner = _rows_in(np.sort(plan.quads, axis=1), np.sort(mirror[plan.quads], axis=1))
    shift = plan.vertex_count + len(plan.edges)
    return np.concatenate([mirror, edge_partner + plan.vertex_count, quad_partner + shift])


def _rows_in(table: Integers, wanted: Integers) -> Integers:
    """Position in `table` of each row of `wanted`; both hold distinct rows of the same set."""
    position = np.empty(len(table), dtype=np.int64)
    position[np.lexsort(wanted.T[::-1])] = np.lexsort(table.T[::-1])
    if not np.array_equal(table[position], wanted):
        raise ValueError("the mesh is not mirror-symmetric")
    return position


def _count(ids: Integers, size: int) -> Integers:
    return np.bincount(ids, minlength=size)


def _scatter(ids: Integers, values: Reals, size: int) -> Reals:
    """Sum values (n, k, C) into rows ids (n, k), in the order of n: the order is part of the result."""
    flat_ids, flat = ids.reshape(-1), values.reshape(-1, values.shape[-1])
    total = np.zeros((size, flat.shape[1]))
    order = np.argsort(flat_ids, kind="stable")
    starts = np.flatnonzero(np.diff(flat_ids[order], prepend=-1))
    total[flat_ids[order][starts]] = np.add.reduceat(flat[order], starts, axis=0)
    return total
