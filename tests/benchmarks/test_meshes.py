"""The benchmark's meshes."""

import numpy as np
import torch

from benchmarks.meshes import bent_grid, finer, posed
from facefill.geometry.default_model import default_model
from facefill.geometry.rasterizer import rasterize
from facefill.geometry.uv_atlas import build_atlas


def test_bent_grid_is_as_large_as_common_models_and_faces_the_camera() -> None:
    vertices, triangles = bent_grid()
    assert len(vertices) == 53_130
    assert len(triangles) == 105_340
    mesh = posed("bent grid", vertices, triangles, 64, 2)
    covered = rasterize(mesh.projected, triangles, 64, 64).triangle >= 0
    assert 0.4 < float(covered.float().mean()) < 0.75


def test_finer_face_is_the_same_face() -> None:
    model = default_model()
    fine = finer(model)
    assert len(fine.triangles) == 4 * len(model.triangles)
    atlas, finer_atlas = build_atlas(model), build_atlas(fine)  # refuses what is not mirror-symmetric
    assert torch.equal(atlas.face, finer_atlas.face)
    assert torch.equal(fine.mirror[fine.mirror], torch.arange(len(fine.mean)))

    def places(mean: torch.Tensor, texels: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return (mean[texels] * weights[..., None]).sum(2)

    coarse = places(model.mean, atlas.texel_vertices, atlas.texel_barycentric)
    again = places(fine.mean, finer_atlas.texel_vertices, finer_atlas.texel_barycentric)
    np.testing.assert_allclose(again.numpy(), coarse.numpy(), atol=1.0)  # micrometres
