"""Portraits: what the picture shows is what the ground truth says."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch

from facefill.alignment import align_image, celeba_hq_similarity
from facefill.geometry.default_model import default_model
from facefill.geometry.rasterizer import interpolate
from facefill.geometry.reconstruction import Fit, reconstruct
from facefill.geometry.spherical_harmonics import shade
from facefill.geometry.uv_atlas import build_atlas
from facefill.landmarks import LEFT_EYE, MOUTH, RIGHT_EYE, five_from_68
from facefill.synthetic import parts
from facefill.synthetic.head import Head
from facefill.synthetic.pictures import transformed_truth
from facefill.synthetic.render import Portrait, Sitter, take_picture
from facefill.synthetic.scene import Scene
from facefill.synthetic.view import Frame, landmarks_in, own_frame, visible_landmarks


def fit_of(sitter: Sitter, scene: Scene, portrait: Portrait) -> Fit:
    return Fit(
        torch.from_numpy(sitter.person.identity)[None],
        torch.from_numpy(scene.expression)[None],
        portrait.camera,
        torch.from_numpy(portrait.illumination)[None],
    )


def test_the_face_model_lands_on_the_picture(sitter: Sitter, scene: Scene, portrait: Portrait) -> None:
    model = default_model()
    height, width = portrait.labels.shape
    rebuilt = reconstruct(fit_of(sitter, scene, portrait), model, build_atlas(model), height, width)
    projected = rebuilt.projected[0, model.landmarks, :2].numpy()
    assert np.abs(projected - portrait.landmarks).max() < 0.02
    covered = rebuilt.fragments.triangle[0].numpy() >= 0
    assert (portrait.labels[covered] == parts.BACKGROUND).mean() < 0.01
    on_face = np.isin(portrait.labels, (parts.SKIN, parts.NOSE, parts.LEFT_EYE, parts.RIGHT_EYE))
    assert covered[on_face].mean() > 0.95


def test_skin_is_albedo_times_shading(sitter: Sitter, scene: Scene, portrait: Portrait) -> None:
    """Shading explains the picture: dividing by it leaves less variation on the skin than there was."""
    model = default_model()
    height, width = portrait.labels.shape
    fit = fit_of(sitter, scene, portrait)
    rebuilt = reconstruct(fit, model, build_atlas(model), height, width)
    light = shade(rebuilt.normals, fit.illumination)
    shading = interpolate(light, rebuilt.fragments, model.triangles)[0].permute(1, 2, 0).numpy()
    skin = (portrait.labels == parts.SKIN) & (rebuilt.fragments.triangle[0].numpy() >= 0)
    texture = portrait.picture[skin] / 255
    albedo = texture / shading[skin]
    assert albedo.std(0).mean() / albedo.mean() < 0.8 * texture.std(0).mean() / texture.mean()
    assert np.abs(np.median(albedo, 0) - sitter.person.tone).max() < 0.12


def test_labels_follow_the_release(portrait: Portrait) -> None:
    shown = set(np.unique(portrait.labels).tolist())
    assert {
        parts.BACKGROUND, parts.SKIN, parts.NOSE, parts.LEFT_EYE, parts.RIGHT_EYE, parts.LEFT_BROW,
        parts.RIGHT_BROW, parts.UPPER_LIP, parts.LOWER_LIP, parts.HAIR, parts.NECK, parts.CLOTH,
    } <= shown  # fmt: skip
    middle = {code: np.argwhere(portrait.labels == code).mean(0) for code in shown}
    for left, right in ((parts.LEFT_EYE, parts.RIGHT_EYE), (parts.LEFT_BROW, parts.RIGHT_BROW)):
        assert middle[left][1] > middle[right][1], "left is the person's own, hence right in the image"
    assert middle[parts.LEFT_BROW][0] < middle[parts.LEFT_EYE][0] < middle[parts.UPPER_LIP][0]
    assert middle[parts.UPPER_LIP][0] < middle[parts.LOWER_LIP][0] < middle[parts.NECK][0]
    landmarks = portrait.landmarks
    assert np.abs(middle[parts.RIGHT_EYE][::-1] - landmarks[list(LEFT_EYE)].mean(0)).max() < 2.5
    assert np.abs(middle[parts.LEFT_EYE][::-1] - landmarks[list(RIGHT_EYE)].mean(0)).max() < 2.5
    lips = np.argwhere(np.isin(portrait.labels, (parts.UPPER_LIP, parts.LOWER_LIP, parts.MOUTH))).mean(0)
    assert np.abs(lips[::-1] - landmarks[list(MOUTH)].mean(0)).max() < 3


def test_a_face_has_dark_pupils_bright_whites_and_texture(portrait: Portrait) -> None:
    grey = portrait.picture.mean(2)
    eye = grey[portrait.labels == parts.LEFT_EYE]
    assert np.percentile(eye, 5) < 70 and np.percentile(eye, 90) > 90
    skin, brow = grey[portrait.labels == parts.SKIN], grey[portrait.labels == parts.LEFT_BROW]
    assert brow.mean() < 0.85 * skin.mean()
    lip, face = (
        portrait.picture[portrait.labels == code].astype(float) for code in (parts.LOWER_LIP, parts.SKIN)
    )
    assert (lip[:, 0] / lip[:, 1]).mean() > (face[:, 0] / face[:, 1]).mean(), "lips are redder than skin"


def test_the_same_scene_gives_the_same_bytes(
    sitter: Sitter, scene: Scene, portrait: Portrait, head: Head
) -> None:
    again = take_picture(sitter, scene, own_frame(scene), head)
    assert np.array_equal(again.picture, portrait.picture)
    assert np.array_equal(again.labels, portrait.labels)


def test_the_high_quality_frame_shows_the_same_photograph(
    sitter: Sitter, scene: Scene, portrait: Portrait, head: Head
) -> None:
    similarity = celeba_hq_similarity(five_from_68(portrait.landmarks), 256)
    close = take_picture(sitter, scene, Frame(similarity, 256, 256, 1), head)
    moved = portrait.landmarks @ similarity[:, :2].T + similarity[:, 2]
    assert np.abs(close.landmarks - moved).max() < 0.05
    warped = align_image(portrait.picture, similarity).astype(float)
    face = np.isin(close.labels, (parts.SKIN, parts.NOSE))
    assert np.abs(warped - close.picture)[face].mean() < 8


def test_truth_follows_a_similarity(sitter: Sitter, scene: Scene, portrait: Portrait) -> None:
    similarity = celeba_hq_similarity(five_from_68(portrait.landmarks), 256)
    file = transformed_truth("x.npz", sitter, scene, portrait, similarity)
    with np.load(io.BytesIO(file.content), allow_pickle=False) as stored:
        fit, landmarks = stored["fit"], stored["landmarks"]
    assert fit.shape == (261,) and landmarks.shape == (68, 2)
    assert fit[228] == pytest.approx(float(portrait.camera.scale[0]) * np.hypot(*similarity[0, :2]), rel=1e-4)


@pytest.mark.parametrize(("yaw", "far"), [(0.45, range(7)), (-0.45, range(10, 17))])
def test_a_detector_marks_the_outline_of_the_far_cheek(
    yaw: float, far: range, sitter: Sitter, scene: Scene, head: Head
) -> None:
    turned = replace(scene, euler_xyz=np.float32([0, yaw, 0]))
    frame = own_frame(turned)
    vertices = landmarks_in(sitter.person, turned, frame, head)
    marked = visible_landmarks(sitter.person, turned, frame, head)
    moved = {k for k in range(68) if np.abs(marked[k] - vertices[k]).max() > 0.5}
    assert moved and moved <= set(far)
    outward = -1 if yaw > 0 else 1
    assert all((marked[k] - vertices[k])[0] * outward > 0 for k in moved)
    labels = take_picture(sitter, turned, frame, head).labels
    for k in moved:
        column, row = np.round(marked[k]).astype(int)
        beyond = labels[row, column + 3 * outward] if 0 <= column + 3 * outward < labels.shape[1] else 0
        assert beyond in (
            parts.BACKGROUND,
            parts.HAIR,
            parts.NECK,
            parts.CLOTH,
            parts.LEFT_EAR,
            parts.RIGHT_EAR,
        )
