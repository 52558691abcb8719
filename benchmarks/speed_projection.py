"""The whole projection of one face, fit given: from a picture's bytes to those of its maps.

Ours and the usual stack do the same work in the same run: decode, basis, rasterizer, image to UV, visibility,
shading, encode, tar. Everything is timed whole and part by part.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.faces import Faces, drawn_faces
from benchmarks.meshes import finer
from benchmarks.peers import SIM3DR, Peers, load_peers
from benchmarks.timing import Case, measured
from benchmarks.usual_stack import (
    Depth,
    Normals,
    UsualStack,
    archive,
    plain_depth,
    plain_normals,
    project_usually,
    usual_stack,
)
from facefill.geometry.camera import project as to_pixels
from facefill.geometry.default_model import default_model
from facefill.geometry.morphable_model import MorphableModel
from facefill.geometry.rasterizer import triangle_ids
from facefill.geometry.reconstruction import Fit, fit_from_vector, fit_to_vector
from facefill.samples import IMAGE_SIZE, decode_sample, encode_sample
from pipelines.project_uv import AT_ONCE, project
from pipelines.ustar import TarStream

MOST_MS, LEAST_LEAD = 3.4, 10.0


def measure_projection(folder: Path | None, rounds: int) -> str:
    """Markdown table for the default head and the finer one; `folder` has the compiled peers."""
    peers, model = load_peers(folder), default_model()
    cases = [case for each in (model, finer(model)) for case in projection_cases(each, peers)]
    return "\n\n".join([*peers.absent, measured(cases, rounds)])


@dataclass(frozen=True)
class StoredFaces:
    """Faces as a shard holds them, with their fits."""

    faces: Faces
    vectors: Tensor  # (N, 261)
    members: Sequence[Mapping[str, bytes]]


def stored_faces(count: int, model: MorphableModel) -> StoredFaces:
    """Drawn faces as JPEG with landmarks."""
    faces = drawn_faces(count, model)
    pixels = (faces.image * 255).round().byte().permute(0, 2, 3, 1).numpy()
    members = [
        encode_sample({"image": picture, "landmarks": points})
        for picture, points in zip(pixels, faces.landmarks.numpy(), strict=True)
    ]
    return StoredFaces(faces, fit_to_vector(faces.fit), members)


def projection_cases(model: MorphableModel, peers: Peers, count: int = AT_ONCE) -> list[Case]:
    """Whole projection and its parts for `count` faces of a model, as the pipeline does it and as usual."""
    stored = stored_faces(count, model)
    peer = SIM3DR if SIM3DR in peers.found else "a torch z-buffer"
    stack = usual_stack(model, stored.faces.atlas, *geometry_of(peers, model.triangles))
    name = f"{len(model.mean):,} vertices"
    whole, usual = f"projection, {name}", f"usual stack with {peer}, {name}"
    return [
        Case(whole, "ours", partial(project_ours, stored), count, most_ms=MOST_MS),
        Case(whole, usual, partial(project_all_usually, stack, stored), count, least_ratio=LEAST_LEAD),
        *our_parts(stored, f"parts of ours, {name}"),
        *usual_parts(stored, stack, f"parts of the {usual}"),
    ]


def project_ours(stored: StoredFaces) -> list[bytes]:
    """The pipeline's way, many faces at once."""
    image = decoded(stored)
    maps = project(image, stored.vectors, stored.faces.model, stored.faces.atlas)
    return tarred(encoded(maps))


def project_all_usually(stack: UsualStack, stored: StoredFaces) -> list[bytes]:
    """The usual way, face by face."""
    jpegs = [members["image.jpg"] for members in stored.members]
    with torch.no_grad():
        return [
            archive(project_usually(stack, jpeg, fit, IMAGE_SIZE))
            for jpeg, fit in zip(jpegs, single_fits(stored.vectors), strict=True)
        ]


def our_parts(stored: StoredFaces, group: str) -> list[Case]:
    """The steps of `project_ours`."""
    image = decoded(stored)
    maps = project(image, stored.vectors, stored.faces.model, stored.faces.atlas)
    members = encoded(maps)
    geometry = partial(project, image, stored.vectors, stored.faces.model, stored.faces.atlas)
    steps: dict[str, Callable[[], object]] = {
        "fit → texture, visibility, albedo": geometry,
        "decode": partial(decoded, stored),
        "encode": partial(encoded, maps),
        "tar": partial(tarred, members),
    }
    return [Case(group, name, run, len(image)) for name, run in steps.items()]


def usual_parts(stored: StoredFaces, stack: UsualStack, group: str) -> list[Case]:
    """The steps of `project_usually`, for the first face."""
    jpeg, fit = stored.members[0]["image.jpg"], single_fits(stored.vectors[:1])[0]
    image, vertices = stack.decode(jpeg), stack.vertices(fit)
    projected = to_pixels(vertices[None], fit.camera)[0]
    normals = stack.in_uv(stack.normals(vertices) @ fit.camera.rotation[0].T)
    depth = stack.depth(projected, IMAGE_SIZE)
    texture, visible = stack.texture(image, projected, normals, depth)
    albedo = stack.albedo(texture, normals, fit)
    members = stack.encode(texture, albedo, visible)
    steps: dict[str, Callable[[], object]] = {
        "basis": partial(stack.vertices, fit),
        "rasterize": partial(stack.depth, projected, IMAGE_SIZE),
        "normals in UV": lambda: stack.in_uv(stack.normals(vertices)),
        "image → UV, visibility": partial(stack.texture, image, projected, normals, depth),
        "albedo": partial(stack.albedo, texture, normals, fit),
        "decode": partial(stack.decode, jpeg),
        "encode three PNG": partial(stack.encode, texture, albedo, visible),
        "tar": partial(archive, members),
    }
    return [Case(group, name, run) for name, run in steps.items()]


def geometry_of(peers: Peers, triangles: Tensor) -> tuple[Depth, Normals]:
    """Z-buffer and vertex normals of Sim3DR where it is at hand, else those of plain torch."""
    run, normals = peers.found.get(SIM3DR), peers.normals
    if run is None or normals is None:

        def plain(projected: Tensor, size: int) -> Tensor:
            return plain_depth(triangle_ids(projected[None], triangles, size, size)[0], projected, triangles)

        return plain, lambda vertices: plain_normals(vertices, triangles)
    corners = np.ascontiguousarray(triangles.numpy().astype(np.int32))
    return (
        lambda projected, size: torch.from_numpy(run(projected.numpy(), corners, size)[1]),
        lambda vertices: torch.from_numpy(normals(vertices.numpy(), corners)),
    )


def single_fits(vectors: Tensor) -> list[Fit]:
    """The fits of (N, 261), one face each."""
    return [fit_from_vector(vector[None]) for vector in vectors]


def decoded(stored: StoredFaces) -> Tensor:
    """(N, 256, 256, 3) uint8 the pictures, as the pipeline reads them."""
    samples = [decode_sample(members, ("image", "landmarks")) for members in stored.members]
    return torch.from_numpy(np.stack([sample["image"] for sample in samples]))


def encoded(maps: dict[str, Any]) -> list[dict[str, bytes]]:
    """The members that the pipeline stores for each face."""
    count = len(maps["uv_visible"])
    return [encode_sample({name: values[place] for name, values in maps.items()}) for place in range(count)]


def tarred(samples: list[dict[str, bytes]]) -> list[bytes]:
    """One tar of all samples, as the pipeline's shards are written."""
    written = io.BytesIO()
    stream = TarStream(written)
    for place, members in enumerate(samples):
        for extension, content in members.items():
            stream.add(f"{place:06d}.{extension}", content)
    stream.close()
    return [written.getvalue()]
