"""How good fits are: by landmarks alone and refined by the picture, on known and on genuine faces.

Prints Markdown tables; with --out also draws contact sheets. Without --realdata only faces whose truth is
known: made by the project's own renderer, and painted people with hair.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.fits_data import (
    Faces,
    KnownFaces,
    aflw2000,
    celeba,
    check_samples,
    painted_people,
    rendered_faces,
    three_hundred_w_lp,
)
from facefill.fit_pictures import fit_sheet, fit_tiles
from facefill.geometry.camera import project
from facefill.geometry.face_models import MODEL_KINDS, open_model
from facefill.geometry.fitting import residuals, skin_albedo
from facefill.geometry.landmark_fitting import fit_landmarks
from facefill.geometry.morphable_model import MorphableModel, vertices_from_coefficients
from facefill.geometry.photometric import light_and_skin, refine
from facefill.geometry.reconstruction import Fit, fit_from_vector, fit_to_vector, reconstruct, shift_fit
from facefill.geometry.texture import unwrap
from facefill.geometry.uv_atlas import UVAtlas, build_atlas
from facefill.landmarks import BROWS, EYES, INNER, JAW, MOUTH, NOSE

AT_ONCE = 16
FACING = 0.3  # of the normal: vertices and texels that count
BY_LANDMARKS, REFINED = "landmarks", "refined"
LEFT_OUT = {"brows": BROWS, "eyes": EYES, "nose": NOSE, "mouth": MOUTH}
CELEBA_PHOTOGRAPHS, KNOWN_RENDERED, KNOWN_PEOPLE = 187, 32, 32
ROWS_OF_A_SHEET = 6


@dataclass(frozen=True)
class Fitted:
    """Fits of some pictures and how well they explain them."""

    fit: Fit
    skin: Tensor  # (N, A)
    photometric: Tensor  # (N,)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `python -m benchmarks fits`."""
    parser.add_argument("--realdata", type=Path, help="folder of genuine samples")
    parser.add_argument("--out", type=Path, help="folder for contact sheets; not inside the repository")
    parser.add_argument("--first", type=int, default=0, help="number of the first CelebA photograph (0)")
    parser.add_argument("--count", type=int, default=CELEBA_PHOTOGRAPHS, help="CelebA photographs (187)")
    kinds = [kind.name for kind in MODEL_KINDS]
    parser.add_argument("--model", default="default", choices=kinds, help="face model (default: default)")
    parser.add_argument("--model-path", type=Path, help="its files")
    parser.add_argument("--landmarks", type=Path, help="file with the 68 landmarks of a statismo model")


@torch.no_grad()
def run(chosen: argparse.Namespace) -> int:
    """Print the tables and draw the sheets. Raises UserError for files that are absent or not a model."""
    if chosen.realdata is not None:
        check_samples(chosen.realdata)  # before minutes of other measurements
    model = open_model(chosen.model, chosen.model_path, chosen.landmarks)
    atlas = build_atlas(model)
    known = {"rendered faces": rendered_faces(KNOWN_RENDERED, model, atlas)}
    if chosen.model == "default":
        known["painted people"] = painted_people(KNOWN_PEOPLE)
    print(f"Model {model.name}, {len(model.mean):,} vertices, {len(model.albedo_basis)} skins.\n")
    print(parity_table(known, model, atlas))
    sheets = {name.replace(" ", "_"): (faces.images, faces.points) for name, faces in known.items()}
    if chosen.realdata is not None:
        photographs, five = celeba(chosen.realdata, chosen.first, chosen.count)
        turned, large = aflw2000(chosen.realdata), three_hundred_w_lp(chosen.realdata)
        print("\n" + genuine_table(photographs, five, turned, large, model, atlas))
        for name, faces in (
            ("celeba", photographs),
            ("celeba_five", five),
            ("aflw2000", turned),
            ("300w_lp", large),
        ):
            sheets[name] = (faces.images, faces.points)
    if chosen.out is not None:
        chosen.out.mkdir(parents=True, exist_ok=True)
        for name, (images, points) in sheets.items():
            draw_sheet(chosen.out / f"{name}.png", images, points, model, atlas)
    return 0


def parity_table(known: dict[str, KnownFaces], model: MorphableModel, atlas: UVAtlas) -> str:
    """Distance from the truth by kind of face and method."""
    columns = {}
    for kind, faces in known.items():
        weights = torch.ones(faces.points.shape[:2])
        for method in (BY_LANDMARKS, REFINED):
            found = fit_by(method, faces.images, faces.points, weights, model, atlas)
            columns[f"{kind}, {method}"] = parity(faces, found.fit, model, atlas)
    return table("known faces", columns)


def genuine_table(
    photographs: Faces, five: Faces, turned: Faces, large: Faces, model: MorphableModel, atlas: UVAtlas
) -> str:
    """Landmarks and pixels of photographs, most of the landmarks held out."""
    columns: dict[str, dict[str, float]] = {}
    for method in (BY_LANDMARKS, REFINED):
        rows = columns[method] = {}

        def fitted(faces: Faces, left_out: Sequence[int] = (), method: str = method) -> Fitted:
            weights = faces.weights.clone()
            weights[:, list(left_out)] = 0
            return fit_by(method, faces.images, faces.points, weights, model, atlas)

        found = fitted(photographs)
        rows["CelebA, inner 51 of 68 given (px)"] = mean_px(photographs, found, model, INNER)
        rows["CelebA, photometric"] = float(found.photometric.mean())
        rows["CelebA, identity RMS (σ)"] = rms(found.fit.identity)
        rows["CelebA, expression RMS (σ)"] = rms(found.fit.expression)
        for name, points in LEFT_OUT.items():
            rows[f"CelebA, {name} left out (px)"] = mean_px(
                photographs, fitted(photographs, points), model, points
            )
        found = fitted(five)
        rows["CelebA, 5 given, inner 51 (px)"] = mean_px(five, found, model, INNER)
        rows["CelebA, 5 given, jaw (px)"] = mean_px(five, found, model, JAW)
        for name, faces in (("AFLW2000, visible of 21 given", turned), ("300W-LP, 68 given", large)):
            found = fitted(faces)
            error = residual_px(faces, found.fit, model, (*JAW, *INNER)) / faces.box
            rows[f"{name}, NME of 68 (%)"] = float(100 * error.mean())
            rows[f"{name}, photometric"] = float(found.photometric.mean())
    return table("photographs", columns)


def fit_by(
    method: str, images: Tensor, points: Tensor, weights: Tensor, model: MorphableModel, atlas: UVAtlas
) -> Fitted:
    """Fits by landmarks with the light of the pixels, or refined, a few pictures at a time."""
    fits, skins, differences = [], [], []
    for start in range(0, len(images), AT_ONCE):
        image, marked, weight = (values[start : start + AT_ONCE] for values in (images, points, weights))
        fit = fit_landmarks(marked, weight, model, five_points=marked.shape[1] == 5)
        if method == REFINED:
            fit, skin = refine(image, marked, weight, fit, model, atlas)
        else:
            light, skin = light_and_skin(image, fit, model, atlas)
            fit = Fit(fit.identity, fit.expression, fit.camera, light)
        fits.append(fit_to_vector(fit))
        skins.append(skin)
        differences.append(residuals(image, marked, weight, fit, skin, model, atlas)["photometric"])
    return Fitted(fit_from_vector(torch.cat(fits)), torch.cat(skins), torch.cat(differences))


def parity(known: KnownFaces, found: Fit, model: MorphableModel, atlas: UVAtlas) -> dict[str, float]:
    """How far fits lie from the truth: pose, pixels, surface, coefficients, light, albedo."""
    height, width = known.images.shape[2:]
    true, own = (reconstruct(fit, model, atlas, height, width) for fit in (known.fit, found))
    cosine = (found.camera.rotation * known.fit.camera.rotation).sum((1, 2)).sub(1).div(2).clamp(-1, 1)
    front = (true.normals[:, :, 2] > FACING).float()
    count = front.sum(1)

    def on_front(distance: Tensor) -> float:
        return float(((distance * front).sum(1) / count).mean())

    pixels = torch.linalg.vector_norm((own.projected - true.projected)[:, :, :2], dim=2)
    # The surface as the camera sees it, each about its own middle: turn and shape together.
    off = own.vertices @ found.camera.rotation.mT - true.vertices @ known.fit.camera.rotation.mT
    off = off - (off * front[:, :, None]).sum(1, keepdim=True) / count[:, None, None]
    _, visible = unwrap(known.images, true.projected, model, atlas, true.fragments)
    seen = visible * (true.uv_normals[:, 2:] > FACING)
    total = 3 * seen.sum((1, 2, 3))
    ratio = own.shading / true.shading
    brightness = (ratio * seen).sum((1, 2, 3)) / total
    light = ((ratio - 1).abs() * seen).sum((1, 2, 3)) / total
    form = ((ratio / brightness[:, None, None, None] - 1).abs() * seen).sum((1, 2, 3)) / total
    result = {
        "pose (°)": float(torch.rad2deg(torch.acos(cosine)).mean()),
        "surface (px)": on_front(pixels),
        "surface (mm)": on_front(torch.linalg.vector_norm(off, dim=2)) / 1000,
        "identity (σ)": rms(found.identity - known.fit.identity),
        "first 20 (σ)": rms((found.identity - known.fit.identity)[:, :20]),
        "expression (σ)": rms(found.expression - known.fit.expression),
        "shading": float(light.mean()),
        "shading, form": float(form.mean()),
    }
    if known.albedo is not None:
        # both as the method takes it: texture / shading
        unwrapped, found_seen = unwrap(known.images, own.projected, model, atlas, own.fragments)
        both = found_seen * seen
        error = ((unwrapped / own.shading).clamp(0, 1) - known.albedo).square() * both
        mean = error.sum((1, 2, 3)) / (3 * both.sum((1, 2, 3)))
        result["albedo (dB)"] = float((-10 * torch.log10(mean)).mean())
    return result


def residual_px(faces: Faces, fit: Fit, model: MorphableModel, chosen: Sequence[int]) -> Tensor:
    """(N,) mean distance of the model's landmarks from the true ones."""
    vertices = vertices_from_coefficients(model, fit.identity, fit.expression)
    own = project(vertices, fit.camera)[:, model.landmarks, :2]
    return torch.linalg.vector_norm(own - faces.truth, dim=2)[:, list(chosen)].mean(1)


def mean_px(faces: Faces, found: Fitted, model: MorphableModel, chosen: Sequence[int]) -> float:
    """residual_px over all faces."""
    return float(residual_px(faces, found.fit, model, chosen).mean())


def rms(values: Tensor) -> float:
    """Root mean square."""
    return float(values.square().mean().sqrt())


def table(title: str, columns: dict[str, dict[str, float]]) -> str:
    """Markdown: one row per figure, one column per way of fitting."""
    lines = [f"| {title} | {' | '.join(columns)} |", "| --- |" + " ---: |" * len(columns)]
    for name in next(iter(columns.values())):
        cells = (f"{figures[name]:.3f}" if name in figures else "" for figures in columns.values())
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw_sheet(path: Path, images: Tensor, points: Tensor, model: MorphableModel, atlas: UVAtlas) -> None:
    """The first few faces refined, as a PNG: photograph, mesh and landmarks, rendering, texture."""
    from PIL import Image

    images, points = images[:ROWS_OF_A_SHEET], points[:ROWS_OF_A_SHEET]
    weights = points.isfinite().all(2).float()
    found = fit_by(REFINED, images, points, weights, model, atlas)
    side = min(images.shape[2:])
    corner = images.new_tensor([(images.shape[3] - side) // 2, (images.shape[2] - side) * 5 // 8])
    left, top = (int(value) for value in corner)
    square = images[:, :, top : top + side, left : left + side]
    tiles = fit_tiles(
        square, points - corner, shift_fit(found.fit, -corner), model, atlas, skin_albedo(model, found.skin)
    )
    labels = [f"photometric {value:.3f}" for value in found.photometric.tolist()]
    Image.fromarray(fit_sheet(list(zip(labels, tiles, strict=True)))).save(path)
