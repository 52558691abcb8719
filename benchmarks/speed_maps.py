"""Between vertices, pixels and texels: the linear model, resampling to and from UV, and fitting, on one core.

The yardsticks are written out as they are usually done, torch indexing and grid_sample, and run beside ours.
"""

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.faces import Faces, drawn_faces
from benchmarks.meshes import COLUMNS, ROWS
from benchmarks.timing import Case, measured
from facefill.geometry.fitting import fit_faces
from facefill.geometry.landmark_fitting import fit_landmarks
from facefill.geometry.morphable_model import EXPRESSION_COUNT, IDENTITY_COUNT, linear_vertices
from facefill.geometry.reconstruction import reconstruct
from facefill.geometry.texture import render, unwrap
from facefill.geometry.uv_atlas import uv_from_vertices

SIZE, FACES, BASIS_FACES = 256, 8, 32
# On two cores 200 and 5 faces a second, one face per core at a time.
MOST_LANDMARKS_MS, MOST_FIT_MS = 2 * 1000 / 200, 2 * 1000 / 5


def measure_maps(rounds: int) -> str:
    """Markdown table of all cases here."""
    with torch.no_grad():
        cases = [*basis_cases(), *resampling_cases(), *fitting_cases(drawn_faces(FACES))]
        return measured(cases, rounds)


def basis_cases(vertex_count: int = ROWS * COLUMNS, count: int = BASIS_FACES) -> list[Case]:
    """Mean and bases of a big mesh for the coefficients of a batch, in float32 and bfloat16; one by one."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    identity, expression = normal(count, IDENTITY_COUNT), normal(count, EXPRESSION_COUNT)
    mean, bases = normal(vertex_count, 3), normal(IDENTITY_COUNT + EXPRESSION_COUNT, vertex_count, 3)
    parts = mean, bases[:IDENTITY_COUNT], bases[IDENTITY_COUNT:], identity, expression
    halved = [part.bfloat16() for part in parts]
    by_vertex, columns = bases.flatten(1).T.contiguous(), torch.cat((identity, expression), 1)

    def one_by_one() -> list[Tensor]:
        return [mean.flatten() + by_vertex @ column for column in columns]

    group = f"linear model, {vertex_count:,} vertices"
    return [
        Case(group, f"float32, batch of {count}", partial(linear_vertices, *parts), count),
        Case(group, f"bfloat16, batch of {count}", partial(linear_vertices, *halved), count),
        Case(group, "float32 matrix times vector, one by one", one_by_one, count),
    ]


def resampling_cases(count: int = FACES) -> list[Case]:
    """Vertices to UV, image to UV and UV to image of drawn faces, against torch indexing and grid_sample."""
    faces = drawn_faces(count)
    model, atlas, image = faces.model, faces.atlas, faces.image
    mesh = reconstruct(faces.fit, model, atlas, SIZE, SIZE)
    projected, fragments = mesh.projected, mesh.fragments
    texture, _ = unwrap(image, projected, model, atlas, fragments)
    corners = model.uv[model.triangles[fragments.triangle.clamp_min(0)]]

    def indexed(values: Tensor) -> Tensor:
        """(N, 192, 256, C) vertex values (N, V, C) in UV."""
        return (values[:, atlas.texel_vertices] * atlas.texel_barycentric[..., None]).sum(3)

    def sampled(picture: Tensor, position: Tensor) -> Tensor:
        size = position.new_tensor((picture.shape[3], picture.shape[2]))
        return functional.grid_sample(picture, (2 * position + 1) / size - 1, align_corners=False)

    def usual() -> Tensor:
        return sampled(image, indexed(projected)[..., :2])

    def to_image() -> Tensor:
        return sampled(texture, (corners * fragments.barycentric[..., None]).sum(3))

    ours = partial(unwrap, image, projected, model, atlas, fragments)
    return [
        Case("vertices → UV", "ours", partial(uv_from_vertices, projected, atlas), count),
        Case("vertices → UV", "torch indexing", lambda: indexed(projected), count),
        Case("image → UV", "ours, with the depth test", ours, count),
        Case("image → UV", "torch indexing, grid_sample, no depth test", usual, count),
        Case("UV → image", "ours", partial(render, texture, fragments, model), count),
        Case("UV → image", "torch indexing given the corners, grid_sample", to_image, count),
    ]


def fitting_cases(faces: Faces) -> list[Case]:
    """Fits from 68 landmarks alone, and with light and skin from the pixels."""
    trust = torch.ones(faces.landmarks.shape[:2])
    landmarks, count = faces.landmarks, len(faces.image)
    by_landmarks = partial(fit_landmarks, landmarks, trust, faces.model, five_points=False)
    full = partial(fit_faces, faces.image, landmarks, trust, faces.model, faces.atlas)
    return [
        Case("fit", "68 landmarks", by_landmarks, count, most_ms=MOST_LANDMARKS_MS),
        Case("fit", "68 landmarks and photometric", full, count, most_ms=MOST_FIT_MS),
    ]
