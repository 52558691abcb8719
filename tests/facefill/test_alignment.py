"""The alignment against Pillow's QUAD sequence on genuine photographs, and its invariants."""

import numpy as np
import pytest
from PIL import Image

from facefill import alignment
from facefill.alignment import (
    align_image,
    apply_similarity,
    celeba_hq_similarity,
    invert_similarity,
    resize_similarity,
)
from facefill.errors import UserError
from facefill.landmarks import five_from_68


def quad_of(five: np.ndarray) -> np.ndarray:
    """Progressive GAN's quad: top left, bottom left, bottom right, top right."""
    left, right, _, mouth_left, mouth_right = five
    eyes, mouth = (left + right) * 0.5 + 0.5, (mouth_left + mouth_right) * 0.5 + 0.5
    across, down = right - left, mouth - eyes
    x = across - np.array([-down[1], down[0]])
    x = x / np.hypot(*x) * max(np.hypot(*across) * 2.0, np.hypot(*down) * 1.8)
    y = np.array([-x[1], x[0]])
    centre = eyes + down * 0.1
    return np.stack([centre - x - y, centre - x + y, centre + x + y, centre + x - y])


def aligned_by_pillow(image: Image.Image, five: np.ndarray, size: int) -> np.ndarray:
    """The usual slow way, without its blurred border: shrink, pad by reflection, QUAD at four times the size.

    One difference: the usual quad is not moved by half a pixel when the picture is shrunk, which shifts large
    faces.
    """
    quad = quad_of(five)
    side = np.hypot(*(quad[3] - quad[0]))
    shrink = int(np.floor(side / size * 0.5))
    if shrink > 1:
        image, quad = image.reduce(shrink), (quad + 0.5) / shrink - 0.5
    pad = int(np.ceil(max(0, -quad.min(), (quad.max(0) - image.size).max()))) + 4
    padded = Image.fromarray(np.pad(np.array(image), ((pad, pad), (pad, pad), (0, 0)), mode="reflect"))
    corners = tuple((quad + pad + 0.5).ravel())
    drawn = padded.transform((4 * size, 4 * size), Image.Transform.QUAD, corners, Image.Resampling.BILINEAR)
    return np.array(drawn.resize((size, size), Image.Resampling.BOX))


def points_68(realdata, name: str) -> np.ndarray:
    for line in (realdata / "celeba/landmarks68_dlib.csv").read_text().splitlines():
        if line.startswith(name):
            return np.array(line.split(",")[2:], float).reshape(68, 2)
    raise LookupError(name)


@pytest.mark.parametrize("name", ["000001.jpg", "000015.jpg", "000028.jpg", "000048.jpg"])
@pytest.mark.parametrize("size", [256, 64, 40])  # enlarged, shrunk, shrunk beyond one half
def test_agrees_with_pillow_on_photographs(realdata, name, size):
    image = Image.open(realdata / "celeba/img_align_celeba" / name)
    five = five_from_68(points_68(realdata, name))
    ours = align_image(np.array(image), celeba_hq_similarity(five, size), size)
    pillow = aligned_by_pillow(image, five, size)
    assert np.abs(ours.astype(int) - pillow.astype(int)).mean() < 1
    shifted = align_image(np.array(image), celeba_hq_similarity(five + 1, size), size)
    assert np.abs(shifted.astype(int) - pillow.astype(int)).mean() > 1  # a pixel of error would show


def test_agrees_with_pillow_on_a_large_photograph(realdata):
    path = realdata / "celeba_hq_stargan_v2/012712.jpg"
    image = Image.open(path)
    five = np.array([[380, 480], [640, 470], [515, 620], [410, 740], [630, 735]], float)
    ours = align_image(np.array(image), celeba_hq_similarity(five), 256)
    assert np.abs(ours.astype(int) - aligned_by_pillow(image, five, 256).astype(int)).mean() < 1


def test_torch_and_opencv_agree(realdata, monkeypatch):
    image = np.array(Image.open(realdata / "celeba/img_align_celeba/000001.jpg"))
    five = five_from_68(points_68(realdata, "000001.jpg"))
    for size in (256, 64, 40):
        similarity = celeba_hq_similarity(five, size)
        with_opencv = align_image(image, similarity, size)
        with monkeypatch.context() as patch:
            patch.setattr(alignment, "_opencv", lambda: None)
            with_torch = align_image(image, similarity, size)
        assert np.abs(with_opencv.astype(int) - with_torch.astype(int)).mean() < 1


def test_eyes_are_level_and_centred_whatever_the_turn():
    random = np.random.default_rng(1)
    face = np.array([[-30, -20], [30, -20], [0, 10], [-20, 40], [20, 40]], float)
    reference = apply_similarity(face, celeba_hq_similarity(face))
    for _ in range(20):
        angle, scale = random.uniform(-3, 3), random.uniform(0.2, 20)
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        moved = face @ turn.T + random.uniform(-500, 500, 2)
        aligned = apply_similarity(moved, celeba_hq_similarity(moved))
        assert abs(aligned[0, 1] - aligned[1, 1]) < 1e-6
        # not exactly the reference: the half pixel of the convention neither turns nor scales with the face
        assert np.abs(aligned - reference).max() < np.hypot(0.5, 0.5) * 256 / 240 * (1 + 1 / scale)


def test_inverse_and_resize():
    similarity = celeba_hq_similarity(np.array([[10, 20], [50, 18], [30, 40], [15, 60], [48, 61]], float))
    points = np.random.default_rng(0).uniform(0, 100, (7, 2))
    assert np.allclose(
        apply_similarity(apply_similarity(points, similarity), invert_similarity(similarity)), points
    )
    assert np.allclose(apply_similarity(np.array([[511.5, 511.5]]), resize_similarity(1024, 1024)), 127.5)
    assert np.allclose(resize_similarity(256, 256), [[1, 0, 0], [0, 1, 0]])
    with pytest.raises(UserError, match="178x218"):
        resize_similarity(178, 218)


def test_resize_is_the_mean_of_blocks():
    image = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3)).astype(np.uint8)
    ours = align_image(image, resize_similarity(1024, 1024))
    blocks = image.reshape(256, 4, 256, 4, 3).mean((1, 3))
    assert np.abs(ours - blocks).max() <= 1.5


def test_identity_changes_nothing():
    image = np.random.default_rng(0).integers(0, 256, (256, 256, 3)).astype(np.uint8)
    assert (align_image(image, resize_similarity(256, 256)) == image).all()


def test_bad_points_are_refused():
    with pytest.raises(UserError, match="finite"):
        celeba_hq_similarity(np.full((5, 2), np.nan))
    with pytest.raises(UserError, match="five"):
        celeba_hq_similarity(np.zeros((4, 2)))
    with pytest.raises(UserError, match="upon each other"):
        celeba_hq_similarity(np.ones((5, 2)))
