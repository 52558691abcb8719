"""Rasterizers of others: what is there is used, what is not is said."""

from pathlib import Path

import numpy as np

from benchmarks.peers import FACE3D, SIM3DR, load_peers

STAND_IN = """
import numpy as np

def rasterize_triangles(vertices, triangles, depth, ids, weights, count, height, width):
    assert weights.shape == (height, 3 * width) and vertices.dtype == np.float32
    ids[1, 2], depth[1, 2] = count - 1, 7

def get_normal(normals, vertices, triangles, vertex_count, count):
    normals[:, 2] = vertex_count
"""


def test_absent_peers_are_named() -> None:
    peers = load_peers(None)
    assert peers.found == {}
    assert [line.partition(" was not")[0] for line in peers.absent] == [SIM3DR, FACE3D]
    assert all("--peers" in line for line in peers.absent)


def test_peer_in_the_folder_is_used_and_the_other_is_named(tmp_path: Path) -> None:
    (tmp_path / "Sim3DR_Cython.py").write_text(STAND_IN)
    peers = load_peers(tmp_path)
    vertices, triangles = np.zeros((5, 3), np.float32), np.zeros((4, 3), np.int32)
    ids, depth = peers.found[SIM3DR](vertices, triangles, 8)
    assert ids[1, 2] == 3 and depth[1, 2] == 7
    assert (ids == -1).sum() == 63
    assert peers.normals is not None
    assert peers.normals(vertices, triangles)[:, 2].tolist() == [5.0] * 5
    assert peers.absent == [f"{FACE3D} was not measured: no module mesh_core_cython in {tmp_path}."]
