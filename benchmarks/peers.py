"""Rasterizers of others, from a folder with their compiled modules: Sim3DR (3DDFA_V2) and face3d's mesh_core.

Neither is packaged: build each one's extension in place (`python setup.py build_ext -i`) and put both files
into one folder. They write triangle ids and barycentric coordinates, do not cull back faces, and leave
unowned the centres that lie on an edge.
"""

import importlib.machinery
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIM3DR, FACE3D = "Sim3DR", "face3d mesh_core"
MODULES = {SIM3DR: "Sim3DR_Cython", FACE3D: "mesh_core_cython"}
FARTHEST = -1e30

Reals = NDArray[np.float32]
Ids = NDArray[np.int32]
# Vertices (V, 3), triangles (F, 3), size -> ids, -1 where empty, and depth (size, size).
Rasterizer = Callable[[Reals, Ids, int], tuple[Ids, Reals]]


@dataclass(frozen=True)
class Peers:
    """What was found, and a sentence for each peer that was not.

    normals: Sim3DR's vertex normals (V, 3) of vertices and triangles, where Sim3DR is there.
    """

    found: dict[str, Rasterizer]
    normals: Callable[[Reals, Ids], Reals] | None
    absent: list[str]


def load_peers(folder: Path | None) -> Peers:
    """The compiled peers in `folder`; None has none."""
    found: dict[str, Rasterizer] = {}
    normals = None
    absent = []
    for name, module_name in MODULES.items():
        module = None if folder is None else _load(module_name, folder)
        if module is None:
            place = "no --peers FOLDER given" if folder is None else f"no module {module_name} in {folder}"
            absent.append(f"{name} was not measured: {place}.")
        elif name == SIM3DR:
            found[name] = partial(_sim3dr, module.rasterize_triangles)
            normals = partial(_normals, module.get_normal)
        else:
            found[name] = partial(_face3d, module.rasterize_triangles_core)
    return Peers(found, normals, absent)


def _load(name: str, folder: Path) -> ModuleType | None:
    specification = importlib.machinery.PathFinder.find_spec(name, [str(folder)])
    if specification is None or specification.loader is None:
        return None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def _sim3dr(rasterize: Any, vertices: Reals, triangles: Ids, size: int) -> tuple[Ids, Reals]:
    depth, ids, weights = _buffers(size)
    rasterize(vertices, triangles, depth, ids, weights.reshape(size, -1), len(triangles), size, size)
    return ids, depth


def _face3d(rasterize: Any, vertices: Reals, triangles: Ids, size: int) -> tuple[Ids, Reals]:
    depth, ids, weights = _buffers(size)
    counts = len(vertices), len(triangles)
    rasterize(vertices, triangles, depth, ids, weights.reshape(size, -1), *counts, size, size)
    return ids, depth


def _normals(get_normal: Any, vertices: Reals, triangles: Ids) -> Reals:
    normals = np.zeros_like(vertices)
    get_normal(normals, vertices, triangles, len(vertices), len(triangles))
    return normals


def _buffers(size: int) -> tuple[Reals, Ids, Reals]:
    """Depth, ids and barycentric coordinates as the caller has to bring them."""
    return (
        np.full((size, size), FARTHEST, np.float32),
        np.full((size, size), -1, np.int32),
        np.zeros((size, size, 3), np.float32),
    )
