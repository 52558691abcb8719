"""The faces that fits are measured on: made by our own renderer, painted people, and genuine samples."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from facefill.errors import UserError
from facefill.geometry.camera import WeakPerspective, project
from facefill.geometry.morphable_model import MorphableModel
from facefill.geometry.photometric import LIGHT_MEAN
from facefill.geometry.reconstruction import Fit, reconstruct
from facefill.geometry.texture import coverage, render
from facefill.geometry.uv_atlas import UVAtlas
from facefill.landmarks import MIRROR_68
from facefill.photographs import decode_photograph

SIZE = 256
SAMPLES = (
    "celeba/landmarks68_dlib.csv",
    "celeba/list_landmarks_align_celeba.csv",
    "celeba/img_align_celeba",
    "aflw2000_3d/AFLW2000",
    "300w_lp",
    "bfm_3ddfa/sparse68",
)
# AFLW's 21 points among the 68. Ears and the centres of eyes and mouth have no counterpart; its corners of
# the nose lie on the wings, a thirtieth of the face outside of points 31 and 35.
AFLW_POINTS = {
    0: 17, 1: 19, 2: 21, 3: 22, 4: 24, 5: 26, 6: 36, 8: 39, 9: 42, 11: 45,
    14: 30, 17: 48, 19: 54, 20: 8,
}  # fmt: skip


@dataclass(frozen=True)
class Faces:
    """Photographs of one size with the points to fit by and those to score against."""

    names: tuple[str, ...]
    images: Tensor  # (N, 3, H, W)
    points: Tensor  # (N, 68 or 5, 2)
    weights: Tensor  # (N, 68 or 5)
    truth: Tensor  # (N, 68, 2)
    box: Tensor  # (N,) square root of the area of the box around the truth


@dataclass(frozen=True)
class KnownFaces:
    """Pictures whose fit and skin are known."""

    images: Tensor  # (N, 3, H, W)
    points: Tensor  # (N, 68, 2) as marked: with a detector's noise
    fit: Fit
    albedo: Tensor | None  # (N, 3, 192, 256), where it lives in the atlas


def check_samples(folder: Path) -> None:
    """Raise UserError that names the first part of the genuine samples that is missing."""
    for part in SAMPLES:
        if not (folder / part).exists():
            raise UserError(
                f"{folder / part} is missing: give the folder of the genuine samples with --realdata"
            )


def celeba(folder: Path, first: int, count: int) -> tuple[Faces, Faces]:
    """`count` detected photographs from number `first` on with their 68 points; all with official points to
    fit by.
    """
    with (folder / "celeba" / "landmarks68_dlib.csv").open() as stream:
        rows = [row for row in list(csv.reader(stream))[1:] if row[1] == "1"]
    with (folder / "celeba" / "list_landmarks_align_celeba.csv").open() as stream:
        official = {row[0]: row[1:] for row in list(csv.reader(stream))[1:]}
    if not 0 <= first < len(rows) or count < 1:
        raise UserError(f"there is no CelebA photograph from number {first} on: the samples have {len(rows)}")
    pictures = folder / "celeba" / "img_align_celeba"

    def faces(chosen: list[list[str]], five: bool) -> Faces:
        truth = torch.tensor([[float(value) for value in row[2:]] for row in chosen]).view(-1, 68, 2)
        points = truth
        if five:
            points = torch.tensor([[float(value) for value in official[row[0]]] for row in chosen])
            points = points.view(-1, 5, 2)
        images = torch.stack([_picture(pictures / row[0]) for row in chosen])
        return _faces([row[0] for row in chosen], images, points, truth)

    return faces(rows[first : first + count], five=False), faces(
        [row for row in rows if row[0] in official], five=True
    )


def aflw2000(folder: Path) -> Faces:
    """AFLW2000-3D: the visible of AFLW's 21 points to fit by, pt3d_68 to score against."""
    import scipy.io

    names, images, points, truths = [], [], [], []
    for path in sorted((folder / "aflw2000_3d" / "AFLW2000").glob("*.mat")):
        fields = scipy.io.loadmat(path)
        marked = torch.full((68, 2), torch.nan)
        for source, place in AFLW_POINTS.items():
            if (fields["pt2d"][:, source] > 0).all():
                marked[place] = torch.from_numpy(fields["pt2d"][:, source]).float() - 1
        names.append(path.stem)
        images.append(_picture(path.with_suffix(".jpg")))
        points.append(marked)
        truths.append(torch.from_numpy(fields["pt3d_68"][:2].T).float() - 1)
    return _faces(names, torch.stack(images), torch.stack(points), torch.stack(truths))


def three_hundred_w_lp(folder: Path) -> Faces:
    """300W-LP: pt2d to fit by, the landmarks of the stored parameters to score against."""
    import scipy.io

    basis = folder / "bfm_3ddfa" / "sparse68"
    mean = np.loadtxt(basis / "u_base.txt").reshape(68, 3)
    shapes = np.loadtxt(basis / "w_shp_base.txt").reshape(204, 40)
    expressions = np.loadtxt(basis / "w_exp_base.txt").reshape(204, 10)
    names, images, points, truths = [], [], [], []
    for path in sorted((folder / "300w_lp").glob("*/*.mat")):
        fields = scipy.io.loadmat(path)
        image = _picture(path.with_suffix(".jpg"))
        shape = shapes @ fields["Shape_Para"][:40, 0] + expressions @ fields["Exp_Para"][:10, 0]
        pitch, yaw, roll, x, y, _, scale = fields["Pose_Para"].ravel().tolist()
        camera = WeakPerspective(
            torch.tensor([scale]), torch.tensor([[pitch, yaw, roll]]),
            torch.tensor([[x - 1, image.shape[1] - y]]),
        )  # fmt: skip
        vertices = torch.from_numpy(mean + shape.reshape(68, 3)).float()[None]
        names.append(f"{path.parent.name}/{path.stem}")
        images.append(image)
        marked = torch.from_numpy(fields["pt2d"].T).float() - 1
        # the mirrored copies keep the order of the picture that they mirror
        points.append(marked[list(MIRROR_68)] if path.parent.name.endswith("_Flip") else marked)
        truths.append(project(vertices, camera)[0, :, :2])
    return _faces(names, torch.stack(images), torch.stack(points), torch.stack(truths))


def rendered_faces(count: int, model: MorphableModel, atlas: UVAtlas) -> KnownFaces:
    """Random faces of the model under random lights before a plain ground, at 256 pixels."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    angles = torch.stack((0.12 * normal(count), 0.35 * normal(count), 0.12 * normal(count)), 1)
    scale = 1.15e-3 * torch.exp(0.08 * normal(count))
    camera = WeakPerspective(scale, angles, SIZE / 2 + 4 * normal(count, 2))
    light = torch.tensor(LIGHT_MEAN) + 0.25 * normal(count, 1, 9)
    fit = Fit(0.9 * normal(count, 199), 0.9 * normal(count, 29), camera, light.repeat(1, 3, 1))
    skin = normal(count, len(model.albedo_basis))
    albedo = (model.mean_albedo + torch.tensordot(skin, model.albedo_basis, 1)).clamp(0.02, 1)
    scene = reconstruct(fit, model, atlas, SIZE, SIZE)
    ground = (0.5 + 0.15 * normal(count, 3, 1, 1)).clamp(0, 1)
    covered = coverage(scene.fragments)
    seen = render(albedo * scene.shading, scene.fragments, model)
    image = torch.where(covered > 0, seen, ground).clamp(0, 1)
    image = (image + 0.01 * normal(*image.shape)).clamp(0, 1)
    points = scene.projected[:, model.landmarks, :2] + normal(count, 68, 2)
    return KnownFaces(image, points, fit, albedo)


def painted_people(count: int) -> KnownFaces:
    """Synthetic people with hair and highlights at 256 pixels; landmarks as a detector marks them."""
    from facefill.synthetic.head import load_head
    from facefill.synthetic.people import sample_person
    from facefill.synthetic.render import prepare, take_picture
    from facefill.synthetic.scene import PoseRange, sample_scene
    from facefill.synthetic.view import own_frame, visible_landmarks

    head = load_head()
    noise = np.random.default_rng(0)
    images, points, fits = [], [], []
    for number in range(count):
        person = sample_person(1000 + number)
        scene = sample_scene(2000 + number, SIZE, SIZE, (60.0, 72.0), PoseRange(40), head.model, person.tone)
        frame = own_frame(scene)
        portrait = take_picture(prepare(person, head), scene, frame, head)
        marked = visible_landmarks(person, scene, frame, head) + noise.normal(0, 1, (68, 2))
        images.append(torch.from_numpy(portrait.picture).permute(2, 0, 1).float() / 255)
        points.append(torch.from_numpy(marked).float())
        fits.append(
            Fit(
                torch.from_numpy(person.identity)[None], torch.from_numpy(scene.expression)[None],
                portrait.camera, torch.from_numpy(portrait.illumination).float()[None],
            )
        )  # fmt: skip
    camera = WeakPerspective(
        torch.cat([fit.camera.scale for fit in fits]),
        torch.cat([fit.camera.euler_xyz for fit in fits]),
        torch.cat([fit.camera.translation for fit in fits]),
    )
    fit = Fit(
        torch.cat([fit.identity for fit in fits]), torch.cat([fit.expression for fit in fits]), camera,
        torch.cat([fit.illumination for fit in fits]),
    )  # fmt: skip
    return KnownFaces(torch.stack(images), torch.stack(points), fit, None)


def _picture(path: Path) -> Tensor:
    if not path.is_file():
        raise UserError(f"{path} is missing: give the folder of the genuine samples with --realdata")
    picture = decode_photograph(path.read_bytes(), path.name)
    return torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1).float() / 255


def _faces(names: list[str], images: Tensor, points: Tensor, truth: Tensor) -> Faces:
    size = truth.amax(1) - truth.amin(1)
    weights = points.isfinite().all(2).float()
    return Faces(tuple(names), images, points, weights, truth, size.prod(1).sqrt())
