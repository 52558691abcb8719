"""Rasterizers: which triangle every pixel sees, without gradients and with them, on one core, eight faces."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.meshes import PosedMesh, basel_mean, bent_grid, posed
from benchmarks.peers import SIM3DR, Ids, Peers, Rasterizer, load_peers
from benchmarks.timing import Case, measured
from benchmarks.usual_stack import plain_barycentrics
from facefill.geometry.compiled import numba_is_importable
from facefill.geometry.default_model import default_model
from facefill.geometry.rasterizer import rasterize, triangle_ids

SIZE, FACES, FACES_ON_GPU = 224, 8, 64
MOST_MS, LEAST_LEAD = 1.4, 1.7
MOST_DIFFERENTIABLE_MS = 5.0


def measure_rasterizers(folder: Path | None, realdata: Path | None, rounds: int) -> str:
    """Markdown: agreement of the ids, then times; `folder` has compiled peers, `realdata` the Basel mean."""
    peers, meshes = load_peers(folder), benchmark_meshes(realdata, FACES)
    cases = [case for mesh in meshes for case in z_buffer_cases(mesh, peers)]
    cases += [case for mesh in meshes for case in gradient_cases(mesh)]
    if torch.cuda.is_available():
        many = benchmark_meshes(realdata, FACES_ON_GPU)
        cases += [case for mesh in many for case in gradient_cases(mesh, "cuda")]
    return "\n\n".join([*peers.absent, agreement(meshes, peers), measured(cases, rounds)])


def benchmark_meshes(realdata: Path | None, count: int) -> list[PosedMesh]:
    """The big mesh, the default head and, with `realdata`, the Basel mean, each in `count` poses."""
    model = default_model()
    meshes = [
        posed("bent grid", *bent_grid(), SIZE, count),
        posed("default head", model.mean, model.triangles, SIZE, count),
    ]
    if realdata is not None:
        meshes.append(posed("Basel mean", *basel_mean(realdata), SIZE, count))
    return meshes


def z_buffer_cases(mesh: PosedMesh, peers: Peers) -> list[Case]:
    """Ours, compiled and in plain torch, and the peers that are there, on one mesh."""
    group, count = f"z-buffer, {mesh.name}", len(mesh.projected)
    inputs = mesh.projected, mesh.triangles, mesh.size, mesh.size
    compiled = numba_is_importable()
    ours = f"ours, {'compiled' if compiled else 'plain torch'}: ids, barycentrics, depth"
    cases = [Case(group, ours, partial(rasterize, *inputs), count, most_ms=MOST_MS)]
    if compiled:
        from facefill.geometry.rasterizer_numba import triangle_ids_numba

        cases.append(Case(group, "ours, compiled: ids", partial(triangle_ids_numba, *inputs), count))
    cases.append(Case(group, "ours, plain torch: ids", partial(triangle_ids, *inputs), count))
    for name, run in peers.found.items():
        lead = LEAST_LEAD if name == SIM3DR else None
        cases.append(
            Case(group, f"{name}: ids, barycentrics", one_by_one(run, mesh), count, least_ratio=lead)
        )
    return cases


def one_by_one(run: Rasterizer, mesh: PosedMesh) -> Callable[[], list[Ids]]:
    """A peer's ids of all poses; it takes one mesh at a time and 32-bit indices, made beforehand."""
    vertices = list(mesh.projected.numpy())
    triangles = np.ascontiguousarray(mesh.triangles.numpy().astype(np.int32))
    return lambda: [run(pose, triangles, mesh.size)[0] for pose in vertices]


def agreement(meshes: list[PosedMesh], peers: Peers) -> str:
    """Markdown: the part of all pixels that see the same triangle, and how much of the picture is covered."""
    lines = ["| mesh | pixels covered | the same id as our compiled z-buffer |", "| --- | ---: | --- |"]
    for mesh in meshes:
        ids = rasterize(mesh.projected, mesh.triangles, mesh.size, mesh.size).triangle
        others = {"plain torch": triangle_ids(mesh.projected, mesh.triangles, mesh.size, mesh.size).numpy()}
        others |= {name: np.stack(one_by_one(run, mesh)()) for name, run in peers.found.items()}
        shares = (
            f"{name} {100 * float((ids.numpy() == found).mean()):.3f} %" for name, found in others.items()
        )
        covered = 100 * float((ids >= 0).float().mean())
        lines.append(f"| {mesh.name} | {covered:.0f} % | {', '.join(shares)} |")
    return "\n".join(lines)


def gradient_cases(mesh: PosedMesh, device: str = "cpu") -> list[Case]:
    """Ids and barycentrics, forward and backward to the vertices: ours, and plain torch throughout."""
    group = f"{device}: ids + barycentrics, forward + backward, {mesh.name}"
    projected = (
        mesh.projected.clone().to(device).requires_grad_()
    )  # its own, or the other cases would want gradients
    triangles = mesh.triangles.to(device)
    weight = torch.rand(*projected.shape[:1], mesh.size, mesh.size, 3, device=device)

    def ours() -> Tensor:
        return backward(rasterize(projected, triangles, mesh.size, mesh.size).barycentric)

    def plain() -> Tensor:
        ids = triangle_ids(projected.detach(), triangles, mesh.size, mesh.size)
        return backward(plain_barycentrics(ids, projected, triangles))

    def backward(barycentric: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad((barycentric * weight).sum(), projected)
        if device == "cuda":
            torch.cuda.synchronize()
        return gradient

    most = MOST_DIFFERENTIABLE_MS if device == "cpu" else None
    return [
        Case(group, "ours", ours, len(projected), most),
        Case(group, "plain torch z-buffer and barycentrics", plain, len(projected)),
    ]
