"""What must hold of every face model, checked and said in figures."""

from dataclasses import dataclass

import torch
from torch import Tensor

from facefill.geometry.mesh import mirror_triangles, vertex_normals
from facefill.geometry.morphable_model import LANDMARK_COUNT, MorphableModel
from facefill.geometry.uv_atlas import build_atlas, flip_uv
from facefill.geometry.uv_distortion import model_distortion
from facefill.landmarks import LEFT_EYE, MIRROR_68, NOSE_TIP, RIGHT_EYE

MILLIMETRE = 1e3
EYE_DISTANCE = (50.0, 85.0)  # millimetres between the middles of the eyes of any mean face
LARGEST_ASYMMETRY = 6.0  # millimetres: a scanned mean face is off by up to two, its neck by more
SMALLEST_COVERAGE = 0.4
LARGEST_DISPLACEMENT = 15.0  # millimetres, root mean square over the face, of any one component


@dataclass(frozen=True)
class ModelCheck:
    """name: what was looked at; figure: what was found; passed: whether it is as it must be."""

    name: str
    figure: str
    passed: bool


def check_model(model: MorphableModel) -> list[ModelCheck]:
    """All checks of a model, in the order in which they are worth reading."""
    return [
        _mesh(model),
        _numbers(model),
        _size(model),
        _landmarks(model),
        _landmark_pairs(model),
        _mirror(model),
        _components("identity", model.identity_basis, model.identity_sigma),
        _components("expression", model.expression_basis, model.expression_sigma),
        _coverage(model),
        _flips(model),
        _albedo(model),
    ]


def _mesh(model: MorphableModel) -> ModelCheck:
    vertices, triangles = len(model.mean), len(model.triangles)
    used = torch.unique(model.triangles)
    complete = len(used) == vertices and int(used[0]) == 0 and int(used[-1]) == vertices - 1
    figure = f"{vertices:,} vertices, {triangles:,} triangles" + (
        "" if complete else ", some vertices unused"
    )
    return ModelCheck("mesh", figure, complete)


def _numbers(model: MorphableModel) -> ModelCheck:
    tensors = {
        "mean": model.mean,
        "identity_basis": model.identity_basis,
        "expression_basis": model.expression_basis,
        "identity_sigma": model.identity_sigma,
        "expression_sigma": model.expression_sigma,
        "uv": model.uv,
        "mean_albedo": model.mean_albedo,
        "albedo_basis": model.albedo_basis,
    }
    bad = [name for name, values in tensors.items() if not bool(values.isfinite().all())]
    figure = f"NaN or infinite values in {', '.join(bad)}" if bad else "all finite"
    return ModelCheck("numbers", figure, not bad)


def _size(model: MorphableModel) -> ModelCheck:
    points = model.mean[model.landmarks]
    eyes = points[list(LEFT_EYE)].mean(0) - points[list(RIGHT_EYE)].mean(0)
    distance = torch.linalg.vector_norm(eyes).item() / MILLIMETRE
    low, high = EYE_DISTANCE
    return ModelCheck("size", f"{distance:.1f} mm between the eyes", low <= distance <= high)


def _landmarks(model: MorphableModel) -> ModelCheck:
    """Landmarks are different vertices, and their skin is seen from the front: normals towards z."""
    distinct = len(torch.unique(model.landmarks))
    inner = model.landmarks[17:]
    towards = vertex_normals(model.mean[None], model.triangles)[0, inner, 2]
    nose = towards[NOSE_TIP - 17].item()
    hidden = int((towards < 0).sum())
    figure = (
        f"{distinct} of {LANDMARK_COUNT} distinct, {hidden} of the inner 51 face away, nose tip {nose:+.2f}"
    )
    # points on the rim of lids and lips may look a little inwards
    return ModelCheck("landmarks", figure, distinct == LANDMARK_COUNT and hidden <= 12 and nose > 0)


def _landmark_pairs(model: MorphableModel) -> ModelCheck:
    points = model.mean[model.landmarks]
    mirrored = points[list(MIRROR_68)] * points.new_tensor([-1, 1, 1])
    off = torch.linalg.vector_norm(points - mirrored, dim=1).max().item() / MILLIMETRE
    return ModelCheck("landmark pairs", f"mirror images within {off:.2f} mm", off <= LARGEST_ASYMMETRY)


def _mirror(model: MorphableModel) -> ModelCheck:
    partner = model.mirror
    involution = torch.equal(partner[partner], torch.arange(len(partner)))
    away = model.mean[partner] * model.mean.new_tensor([-1, 1, 1]) - model.mean
    off = torch.linalg.vector_norm(away, dim=1) / MILLIMETRE
    try:
        mirror_triangles(model.triangles.numpy(), partner.numpy())
        paired = True
    except ValueError:
        paired = False
    figure = (
        f"mean within {off.max().item():.3g} mm of its mirror image ({off.mean().item():.2g} on average), "
        f"triangles {'paired' if paired else 'not paired'}"
    )
    return ModelCheck("mirror", figure, involution and paired and off.max().item() <= LARGEST_ASYMMETRY)


def _components(kind: str, basis: Tensor, sigma: Tensor) -> ModelCheck:
    """Every component moves the face by a plausible amount, or is empty with sigma 0."""
    moves = basis.square().sum(2).mean(1).sqrt() / MILLIMETRE
    present = moves > 0
    agrees = torch.equal(present, sigma > 0)
    count = int(present.sum())
    if count == 0:
        return ModelCheck(kind, "no components", agrees)
    total = moves.square().sum().sqrt().item()
    figure = (
        f"{count} of {len(basis)} components, {total:.2f} mm in all, "
        f"{moves[present].min().item():.3f} to {moves.max().item():.2f} mm each; "
        f"sigma {sigma[present].min().item():.4g} to {sigma.max().item():.4g}"
    )
    return ModelCheck(kind, figure, agrees and moves.max().item() <= LARGEST_DISPLACEMENT)


def _coverage(model: MorphableModel) -> ModelCheck:
    face = build_atlas(model).face
    share = face.float().mean().item()
    symmetric = torch.equal(face, flip_uv(face))
    figure = f"{share:.1%} of the texels, {'symmetric' if symmetric else 'not symmetric'}"
    return ModelCheck("atlas", figure, symmetric and share >= SMALLEST_COVERAGE)


def _flips(model: MorphableModel) -> ModelCheck:
    """All triangles of the atlas are wound alike (rows point down), and no texel lies in two of them."""
    whole, _ = model_distortion(model)
    figure = (
        f"{whole.flips} of {len(model.triangles):,} triangles flipped, {whole.overlaps} texels shown twice"
    )
    return ModelCheck("atlas flips", figure, whole.flips == 0 and whole.overlaps == 0)


def _albedo(model: MorphableModel) -> ModelCheck:
    face = build_atlas(model).face
    inside = model.mean_albedo[:, face]
    low, high = inside.min().item(), inside.max().item()
    colour = ", ".join(f"{value:.2f}" for value in inside.mean(1).tolist())
    figure = f"mean ({colour}), {low:.2f} to {high:.2f}, {len(model.albedo_basis)} components"
    return ModelCheck("albedo", figure, low >= 0 and high <= 1 and inside.mean().item() > 0.1)
