"""How texture, visibility and albedo of a fitted face are usually made: one face at a time, step by step.

Pillow decodes, the basis is a float32 product of matrix and vector, Sim3DR or a z-buffer of torch operations
finds the triangles, torch indexing and grid_sample fetch the colours, Pillow writes PNG, tarfile the archive.
"""

import io
import tarfile
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.peers import FARTHEST
from facefill.geometry.camera import project
from facefill.geometry.morphable_model import MorphableModel
from facefill.geometry.reconstruction import Fit
from facefill.geometry.spherical_harmonics import shade_maps
from facefill.geometry.uv_atlas import UVAtlas

# Projected vertices (V, 3) and image size -> depth (H, W), far behind the face where empty.
Depth = Callable[[Tensor, int], Tensor]
# Vertices (V, 3) -> unit normals (V, 3) in the model's frame.
Normals = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class UsualStack:
    """The model as this stack keeps it."""

    mean: Tensor  # (3V,)
    basis: Tensor  # (3V, 228)
    texel_vertices: Tensor  # (192, 256, 3)
    texel_weights: Tensor  # (192, 256, 3)
    texel_covered: Tensor  # (192, 256) bool
    tolerance: float  # micrometres of depth
    depth: Depth
    normals: Normals

    def decode(self, jpeg: bytes) -> Tensor:
        """(1, 3, H, W) in [0, 1]."""
        from PIL import Image

        pixels = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))
        return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255

    def vertices(self, fit: Fit) -> Tensor:
        """(V, 3) micrometres, by a matrix times a vector."""
        return (self.mean + self.basis @ torch.cat((fit.identity, fit.expression), 1)[0]).view(-1, 3)

    def in_uv(self, values: Tensor) -> Tensor:  # (V, C)
        """(192, 256, C) values of the vertices in UV, by torch indexing."""
        return (values[self.texel_vertices] * self.texel_weights[..., None]).sum(2)

    def texture(
        self, image: Tensor, projected: Tensor, normals: Tensor, depth: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Colours (1, 3, 192, 256) in UV, and whether the camera sees each texel (1, 1, 192, 256)."""
        position = self.in_uv(projected)
        size = position.new_tensor((image.shape[3], image.shape[2]))
        grid = ((2 * position[..., :2] + 1) / size - 1)[None]
        colour = functional.grid_sample(image, grid, padding_mode="border", align_corners=False)
        nearest = functional.grid_sample(depth[None, None], grid, mode="nearest", align_corners=False)
        visible = (position[..., 2] >= nearest - self.tolerance) & (normals[..., 2] > 0) & self.texel_covered
        return colour * visible, visible

    def albedo(self, texture: Tensor, normals: Tensor, fit: Fit) -> Tensor:
        """(1, 3, 192, 256) texture over shading."""
        unit = functional.normalize(normals, dim=2).permute(2, 0, 1)[None]
        return (texture / shade_maps(unit, fit.illumination)).clamp(0, 1)

    def encode(self, texture: Tensor, albedo: Tensor, visible: Tensor) -> dict[str, bytes]:
        """The three maps as PNG."""
        maps = {"texture": texture, "albedo": albedo, "visible": visible.float()}
        return {f"{name}.png": _png(values) for name, values in maps.items()}


def usual_stack(model: MorphableModel, atlas: UVAtlas, depth: Depth, normals: Normals) -> UsualStack:
    """The stack for a model with its atlas, a z-buffer and vertex normals."""
    bases = torch.cat([model.identity_basis, model.expression_basis]).flatten(1)
    height = float(model.mean[:, 1].max() - model.mean[:, 1].min())
    return UsualStack(
        model.mean.flatten(),
        bases.T.contiguous(),
        atlas.texel_vertices,
        atlas.texel_barycentric,
        atlas.face,
        0.02 * height,
        depth,
        normals,
    )


def project_usually(stack: UsualStack, jpeg: bytes, fit: Fit, size: int) -> dict[str, bytes]:
    """The whole way of one face, from the picture's bytes to those of its maps."""
    image = stack.decode(jpeg)
    vertices = stack.vertices(fit)
    projected = project(vertices[None], fit.camera)[0]
    normals = stack.in_uv(stack.normals(vertices) @ fit.camera.rotation[0].T)
    texture, visible = stack.texture(image, projected, normals, stack.depth(projected, size))
    return stack.encode(texture, stack.albedo(texture, normals, fit), visible)


def archive(members: dict[str, bytes]) -> bytes:
    """A tar of the members."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    return stream.getvalue()


def plain_depth(ids: Tensor, projected: Tensor, triangles: Tensor) -> Tensor:
    """(H, W) depth of known ids (H, W) of projected vertices (V, 3)."""
    weights = plain_barycentrics(ids[None], projected[None], triangles)[0]
    corners = projected[:, 2][triangles[ids.clamp_min(0)]]
    return torch.where(ids >= 0, (weights * corners).sum(2), FARTHEST)


def plain_normals(vertices: Tensor, triangles: Tensor) -> Tensor:
    """(V, 3) unit normals of vertices (V, 3): face normals added up at their corners."""
    corners = vertices[triangles]
    face = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = torch.zeros_like(vertices).index_add_(0, triangles.flatten(), face.repeat_interleave(3, 0))
    return functional.normalize(total, dim=1)


def plain_barycentrics(ids: Tensor, projected: Tensor, triangles: Tensor) -> Tensor:
    """(N, H, W, 3) barycentric coordinates of known ids (N, H, W), 0 where empty; differentiable.

    As it is usually written: every pixel's corners gathered, areas by cross products.
    """
    count, height, width = ids.shape
    image, row, column = torch.nonzero(ids >= 0, as_tuple=True)
    corners = projected[image[:, None], triangles[ids[image, row, column]]][..., :2]
    pixel = torch.stack([column, row], 1).to(projected.dtype)
    a, b, c = (corners - pixel[:, None]).unbind(1)
    areas = torch.stack([_cross(b, c), _cross(c, a), _cross(a, b)], 1)
    weights = areas / areas.sum(1, keepdim=True)
    return weights.new_zeros(count, height, width, 3).index_put((image, row, column), weights)


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def _png(maps: Tensor) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    pixels = (maps[0] * 255).round().byte().permute(1, 2, 0).squeeze(2).numpy()
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, "PNG")
    return stream.getvalue()
