"""Mirror partners found from the triangles alone."""

from pathlib import Path

import numpy as np
from small_model import small_model_and_atlas

from facefill.geometry.mesh import mirror_triangles
from facefill.geometry.mesh_symmetry import mirror_partners, symmetric_part, symmetrised_points


def test_partners_are_found_on_a_mesh_that_is_only_nearly_symmetric_in_space() -> None:
    model, _ = small_model_and_atlas()
    triangles, mirror = model.triangles.numpy(), model.mirror.numpy()
    rng = np.random.default_rng(0)
    points = model.mean.double().numpy()
    # as far off as a third of an edge, so that the nearest mirrored vertex is often another one
    points = points + rng.normal(scale=600, size=points.shape) * (points[:, :1] != 0)
    partners = mirror_partners(points, triangles)
    assert partners is not None
    assert np.array_equal(partners, mirror)


def test_vertices_without_an_image_are_left_out() -> None:
    model, _ = small_model_and_atlas()
    points, triangles = model.mean.double().numpy(), model.triangles.numpy()
    lopsided = triangles[1:]  # one corner of the mesh is gone on one side alone
    partners = mirror_partners(points, lopsided)
    assert partners is not None
    kept, left, mirror = symmetric_part(partners, lopsided)
    assert len(left) == len(triangles) - 2
    mirror_triangles(left, mirror)
    assert np.array_equal(mirror[mirror], np.arange(len(kept)))


def test_a_mesh_without_symmetry_has_no_partners() -> None:
    model, _ = small_model_and_atlas()
    points, triangles = model.mean.double().numpy(), model.triangles.numpy()
    right = (points[triangles, 0] > 0).all(1) & (np.arange(len(triangles)) % 3 == 0)
    assert mirror_partners(points, triangles[~right]) is None


def test_symmetrised_points_are_exactly_symmetric() -> None:
    model, _ = small_model_and_atlas()
    mirror = model.mirror.numpy()
    points = np.random.default_rng(1).normal(size=(len(mirror), 3))
    symmetric = symmetrised_points(points, mirror)
    assert np.array_equal(symmetric[mirror] * [-1, 1, 1], symmetric)


def test_the_basel_mesh_pairs_all_but_14_vertices(realdata: Path) -> None:
    import scipy.io

    from facefill.geometry.bfm_model import LANDMARKS
    from facefill.landmarks import MIRROR_68

    folder = realdata / "bfm_3ddfa"
    points = np.load(folder / "u_shp.npy").reshape(-1, 3).astype(np.float64)
    triangles = scipy.io.loadmat(folder / "tri.mat")["tri"].T.astype(np.int64)[:, ::-1] - 1
    partners = mirror_partners(points, triangles)
    assert partners is not None
    assert (partners < 0).sum() == 14
    paired = partners >= 0
    away = points[partners[paired]] * [-1, 1, 1] - points[paired]
    assert np.linalg.norm(away, axis=1).max() < 1.8e3  # micrometres
    marks = np.array(LANDMARKS)
    inner = np.arange(17, 68)
    # marked by hand on a face that is a little asymmetric: at most one edge of the mesh beside the partner
    away = points[partners[marks[inner]]] - points[marks[np.array(MIRROR_68)[inner]]]
    assert np.linalg.norm(away, axis=1).max() < 2e3
