"""Fits by pixels: they find what landmarks leave open; what is not the face does not mislead them."""

import functools

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from facefill.geometry.camera import WeakPerspective, project
from facefill.geometry.default_model import default_model
from facefill.geometry.face_crop import CROP
from facefill.geometry.fitting import fit_faces, skin_albedo
from facefill.geometry.landmark_fitting import fit_landmarks, moved
from facefill.geometry.landmark_rows import UNIT
from facefill.geometry.morphable_model import MorphableModel
from facefill.geometry.photometric import (
    GEOMETRY,
    LIGHT_MEAN,
    NUM_CAMERA,
    NUM_LIGHT,
    _look,
    _started,
    _State,
    light_and_skin,
    prior_precision,
    refine,
)
from facefill.geometry.photometric_rows import photometric_rows
from facefill.geometry.photometric_terms import (
    colour_jacobian,
    colours,
    geometry_changes,
    jacobian_blocks,
)
from facefill.geometry.rasterizer import rasterize
from facefill.geometry.reconstruction import Fit, Reconstruction, reconstruct
from facefill.geometry.texture import render
from facefill.geometry.uv_atlas import UVAtlas, build_atlas
from tests.support.faces import degrees_between

SIZE = 192


@functools.cache
@torch.no_grad()
def portraits(count: int) -> tuple[MorphableModel, UVAtlas, Fit, Tensor, Tensor, Reconstruction]:
    """Random faces under random lights: model, atlas, truth, skin, pictures, meshes."""
    model = default_model()
    atlas = build_atlas(model)
    generator = torch.Generator().manual_seed(3)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    angles = torch.stack((0.1 * normal(count), 0.3 * normal(count), 0.1 * normal(count)), 1)
    centre = SIZE / 2 + 3 * normal(count, 2)
    camera = WeakPerspective(torch.full((count,), 8.5e-4), angles, centre)
    light = (torch.tensor(LIGHT_MEAN) + 0.2 * normal(count, 1, 9)).repeat(1, 3, 1)
    true = Fit(0.8 * normal(count, 199), 0.8 * normal(count, 29), camera, light)
    skin = 0.7 * normal(count, len(model.albedo_basis))
    mesh = reconstruct(true, model, atlas, SIZE, SIZE)
    picture = render(skin_albedo(model, skin) * mesh.shading, mesh.fragments, model).clamp(0, 1)
    picture = torch.where(mesh.fragments.triangle[:, None] >= 0, picture, 0.4)
    return model, atlas, true, skin, picture, mesh


def surface_error(fit: Fit, mesh: Reconstruction, model: MorphableModel, atlas: UVAtlas) -> Tensor:
    """(N,) mean distance in pixels of the vertices that face the camera."""
    own = reconstruct(fit, model, atlas, SIZE, SIZE)
    distance = torch.linalg.vector_norm((own.projected - mesh.projected)[:, :, :2], dim=2)
    front = mesh.normals[:, :, 2] > 0.3
    return (distance * front).sum(1) / front.sum(1)


@torch.no_grad()
def test_pixels_correct_what_noisy_landmarks_get_wrong():
    model, atlas, true, _, picture, mesh = portraits(2)
    noise = torch.randn(2, 68, 2, generator=torch.Generator().manual_seed(0))
    points, weights = mesh.projected[:, model.landmarks, :2] + noise, torch.ones(2, 68)
    first = fit_landmarks(points, weights, model, five_points=False)
    fit, _ = refine(picture, points, weights, first, model, atlas)
    before, after = (surface_error(each, mesh, model, atlas).mean() for each in (first, fit))
    assert after < 0.85 * before
    turned = degrees_between(fit.camera.rotation, true.camera.rotation).mean()
    assert turned < degrees_between(first.camera.rotation, true.camera.rotation).mean() + 0.3
    assert (fit.identity - true.identity)[:, :20].norm() < (first.identity - true.identity)[:, :20].norm()


@torch.no_grad()
def test_pixels_alone_bring_a_camera_back():
    model, atlas, true, _, picture, mesh = portraits(2)
    pushed = WeakPerspective(
        1.02 * true.camera.scale,
        true.camera.euler_xyz + torch.tensor([0.03, -0.045, 0.02]),
        true.camera.translation + torch.tensor([2.5, -2.0]),
    )
    first = Fit(true.identity, true.expression, pushed, true.illumination)
    nothing = torch.zeros(2, 68)
    fit, _ = refine(picture, torch.full((2, 68, 2), torch.nan), nothing, first, model, atlas)
    before, after = (degrees_between(each.rotation, true.camera.rotation) for each in (pushed, fit.camera))
    assert (before > 3).all() and (after < 0.5 * before).all()
    # the true shape under the camera that was found: no other shape makes up for a wrong camera
    found = Fit(true.identity, true.expression, fit.camera, true.illumination)
    before, after = (surface_error(each, mesh, model, atlas) for each in (first, found))
    assert (before > 5).all() and (after < 0.45 * before).all()


@torch.no_grad()
def test_a_cheek_behind_the_nose_is_not_looked_at():
    model, atlas, true, _, picture, _ = portraits(1)
    rows = photometric_rows(model, atlas)
    for yaw in (0.9, -0.9):
        camera = WeakPerspective(true.camera.scale, torch.tensor([[0.0, yaw, 0.0]]), true.camera.translation)
        turned = Fit(torch.zeros(1, 199), torch.zeros(1, 29), camera, true.illumination)
        state, crops, _ = _started(picture, turned, model, rows, None)
        texels = _look(state, crops, 0, model, rows)[0]
        camera = WeakPerspective(state.pose.scale / UNIT, camera.euler_xyz, state.pose.translation)
        depth = rasterize(project(model.mean[None], camera), model.triangles, CROP, CROP).depth
        farthest = -functional.max_pool2d(-depth, 3, 1, 1)[0]  # of nine pixels: no outline runs through them
        offset = texels.place[:, :2] * state.pose.scale * torch.tensor([1.0, -1.0])
        column, row = (offset + state.pose.translation).round().long().unbind(1)
        behind = farthest[row.clamp(0, CROP - 1), column.clamp(0, CROP - 1)] - UNIT * texels.place[:, 2]
        facing = texels.normal[:, 2] > 0.25
        hidden, seen = (behind > 1e4) & facing, (behind < 0) & facing
        assert hidden.sum() > 10 and texels.trust[hidden].eq(0).all()
        assert seen.sum() > 500 and texels.trust[seen].gt(0).float().mean() > 0.95


@torch.no_grad()
def test_pixels_find_a_mouth_without_landmarks():
    model, atlas, _, _, picture, mesh = portraits(2)
    points, weights = mesh.projected[:, model.landmarks, :2].clone(), torch.ones(2, 68)
    weights[:, 48:] = 0
    points[:, 48:] = torch.nan
    first = fit_landmarks(points, weights, model, five_points=False)
    fit, residuals = fit_faces(picture, points, weights, model, atlas)

    def mouth(each: Fit) -> Tensor:
        own = reconstruct(each, model, atlas, SIZE, SIZE).projected
        off = (own - mesh.projected)[:, model.landmarks[48:], :2]
        return torch.linalg.vector_norm(off, dim=2).mean()

    assert mouth(fit) < 0.75 * mouth(first)
    assert residuals["photometric"].isfinite().all() and residuals["landmark_px"].max() < 2


@torch.no_grad()
def test_a_gross_outlier_among_the_landmarks_does_not_count():
    model, atlas, _, _, picture, mesh = portraits(2)
    points, weights = mesh.projected[:, model.landmarks, :2], torch.ones(2, 68)
    wrong = points.clone()
    wrong[:, [24, 41, 50]] += torch.tensor([60.0, -45.0])
    fits = [fit_faces(picture, each, weights, model, atlas)[0] for each in (points, wrong)]
    errors = [surface_error(fit, mesh, model, atlas).max() for fit in fits]
    assert errors[1] < errors[0] + 0.3


@torch.no_grad()
def test_what_lies_in_the_hole_has_no_influence():
    model, atlas, _, _, picture, mesh = portraits(2)
    points, weights = mesh.projected[:, model.landmarks, :2], torch.ones(2, 68)
    hole = torch.zeros(2, 1, SIZE, SIZE)
    hole[:, :, 90:140, 70:130] = 1
    noise = torch.rand(picture.shape, generator=torch.Generator().manual_seed(1))
    noise[0, 0, 100, 100] = torch.nan
    pictures = (torch.where(hole > 0, 0.0, picture), torch.where(hole > 0, noise, picture))
    fits, residuals = zip(
        *(fit_faces(each, points, weights, model, atlas, hole) for each in pictures), strict=True
    )
    assert torch.equal(fits[0].identity, fits[1].identity)
    assert torch.equal(fits[0].illumination, fits[1].illumination)
    assert torch.equal(residuals[0]["photometric"], residuals[1]["photometric"])
    free = fit_faces(pictures[0], points, weights, model, atlas)[0]
    assert not torch.equal(free.identity, fits[0].identity)


@torch.no_grad()
def test_something_dark_before_the_face_loses_its_weight():
    model, atlas, _, _, picture, mesh = portraits(2)
    points, weights = mesh.projected[:, model.landmarks, :2], torch.ones(2, 68)
    covered = picture.clone()
    covered[:, :, 105:150, 60:100] = torch.tensor([0.05, 0.1, 0.3])[:, None, None]
    clear, hidden = (fit_faces(each, points, weights, model, atlas)[0] for each in (picture, covered))
    assert (
        surface_error(hidden, mesh, model, atlas).mean()
        < surface_error(clear, mesh, model, atlas).mean() + 0.3
    )


@torch.no_grad()
def test_light_and_skin_come_back_where_shape_is_known():
    model, atlas, true, skin, picture, mesh = portraits(2)
    light, found = light_and_skin(picture, true, model, atlas)
    lit = Fit(true.identity, true.expression, true.camera, light)
    ratio = reconstruct(lit, model, atlas, SIZE, SIZE).shading / mesh.shading
    seen = (mesh.uv_normals[:, 2:] > 0.3).float()
    mean = (ratio * seen).sum((2, 3), keepdim=True) / seen.sum((2, 3), keepdim=True)
    assert (((ratio / mean - 1).abs() * seen).sum() / (3 * seen.sum())) < 0.05
    # brightness is shared between light and skin by the priors; their product is what the picture shows
    product = skin_albedo(model, found) * ratio - skin_albedo(model, skin)
    assert (product.abs() * seen).sum() / (3 * seen.sum()) < 0.03


@torch.no_grad()
def test_a_face_does_not_depend_on_its_batch_or_on_the_picture_s_place():
    model, atlas, _, _, picture, mesh = portraits(2)
    points, weights = mesh.projected[:, model.landmarks, :2], torch.ones(2, 68)
    together, _ = fit_faces(picture, points, weights, model, atlas)
    alone, _ = fit_faces(picture[1:2], points[1:2], weights[1:2], model, atlas)
    torch.testing.assert_close(together.identity[1:2], alone.identity, atol=2e-2, rtol=0)
    wider = functional.pad(picture[1:2], (40, 24, 16, 0), mode="replicate")
    moved_points = points[1:2] + torch.tensor([40.0, 16.0])
    shifted, _ = fit_faces(wider, moved_points, weights[1:2], model, atlas)
    torch.testing.assert_close(shifted.identity, alone.identity, atol=2e-2, rtol=0)
    again, _ = fit_faces(picture[1:2], points[1:2], weights[1:2], model, atlas)
    assert torch.equal(again.identity, alone.identity)


@torch.no_grad()
def test_nothing_to_see_leaves_the_landmark_fit():
    model, atlas, _, _, picture, mesh = portraits(1)
    points, weights = mesh.projected[:, model.landmarks, :2], torch.ones(1, 68)
    hole = torch.ones(1, 1, SIZE, SIZE)
    fit, residuals = fit_faces(picture, points, weights, model, atlas, hole)
    by_landmarks = fit_landmarks(points, weights, model, five_points=False)
    torch.testing.assert_close(fit.camera.euler_xyz, by_landmarks.camera.euler_xyz, atol=0.02, rtol=0)
    torch.testing.assert_close(fit.illumination[0, 1], torch.tensor(LIGHT_MEAN), atol=1e-4, rtol=0)
    assert residuals["seen"] == 0 and residuals["photometric"] == 0


@torch.no_grad()
def test_jacobian_is_the_change_of_the_residual():
    """Each kind of number moved a little: what the residual does is what the Jacobian says."""
    model, atlas, true, _, picture, _ = portraits(1)
    rows = photometric_rows(model, atlas)
    state, crops, _ = _started(picture, true, model, rows, None)
    level = 0
    light = state.light + 0.1 * torch.randn(1, NUM_LIGHT, generator=torch.Generator().manual_seed(2))
    mean = _State(state.pose, torch.zeros_like(state.shape), light, state.skin)

    def residual(at: _State) -> Tensor:
        texels = _look(at, crops, level, model, rows)[0]
        return colours(texels, at.light[0], at.skin[0], rows, level)[0]

    texels = _look(mean, crops, level, model, rows)[0]
    _, albedo, harmonics, shading = colours(texels, light[0], mean.skin[0], rows, level)
    changes = geometry_changes(texels, albedo, light[0], mean.pose.scale[0], mean.pose.rotation[0])
    by_colour = colour_jacobian(albedo, harmonics, shading, rows, level)
    jacobian = torch.cat(list(jacobian_blocks(*changes, by_colour, rows)), 1)
    sure = texels.trust > 0.9
    total = jacobian.shape[2]
    for column in (0, 1, 2, 3, 4, 5, 6, 9, 210, GEOMETRY, GEOMETRY + 12, GEOMETRY + NUM_LIGHT, total - 3):
        size = 0.01 if column < NUM_CAMERA else 0.1
        step = torch.zeros(1, total)
        step[0, column] = size
        camera, shape, of_light, skin = step.split(
            (NUM_CAMERA, GEOMETRY - NUM_CAMERA, NUM_LIGHT, total - GEOMETRY - NUM_LIGHT), 1
        )
        ahead, behind = (
            residual(
                _State(
                    moved(mean.pose, sign * camera), mean.shape + sign * shape,
                    mean.light + sign * of_light, mean.skin + sign * skin,
                )
            )
            for sign in (1, -1)
        )  # fmt: skip
        found = (behind - ahead)[:, sure] / (2 * size)
        expected = jacobian[:, sure, column]
        assert (found - expected).norm() < 0.12 * expected.norm() + 1e-4, column


class Largest(TorchDispatchMode):
    """The most bytes that any one new tensor has taken."""

    size = 0

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        result = function(*arguments, **(named or {}))
        old = {each.untyped_storage().data_ptr() for each in arguments if isinstance(each, Tensor)}
        if isinstance(result, Tensor) and result.untyped_storage().data_ptr() not in old:
            self.size = max(self.size, result.untyped_storage().nbytes())
        return result


@torch.no_grad()
def test_the_jacobian_is_never_held_whole():
    model, atlas, true, skin, picture, mesh = portraits(1)
    rows = photometric_rows(model, atlas)
    points = mesh.projected[:, model.landmarks, :2]
    with Largest() as largest:
        refine(picture, points, torch.ones(1, 68), true, model, atlas)
    whole = 4 * 3 * len(rows.corners) * len(prior_precision(skin.shape[1]))
    assert 0 < largest.size < 0.7 * whole


def test_prior_lets_brightness_vary_more_than_tint():
    precision = prior_precision(2)
    assert precision.shape == (6 + 228 + 27 + 2,) * 2
    light = torch.linalg.inv(precision[GEOMETRY : GEOMETRY + NUM_LIGHT, GEOMETRY : GEOMETRY + NUM_LIGHT])
    white = torch.zeros(NUM_LIGHT)
    white[[0, 9, 18]] = 1
    blue = torch.zeros(NUM_LIGHT)
    blue[[0, 18]] = torch.tensor([-1.0, 1.0])
    assert white @ light @ white > 5 * (blue @ light @ blue)
    assert torch.linalg.eigvalsh(precision).min() > 0
