"""Labels from fits: skin, hair, ears and what lies beside are told apart, and doubt stays unknown."""

import torch
from torch import Tensor

from facefill.face_labels import (
    beyond,
    distance_to_hair,
    grown,
    label_texels,
    labels_from_fit,
    shrunk,
    with_labels,
)
from facefill.face_parsing import BACKGROUND, FACE, OCCLUDER, UNKNOWN
from facefill.geometry.morphable_model import MorphableModel
from facefill.geometry.reconstruction import Fit, Reconstruction, fit_from_vector, fit_to_vector
from facefill.geometry.texture import coverage, render
from facefill.geometry.uv_atlas import UVAtlas
from tests.support.faces import draw, make_batch, model_and_atlas, random_fit

FACE_REGION, _FEATURES, BELOW_NOSE, HAIR, EARS_AND_NECK = range(5)
DARK = torch.tensor([0.12, 0.08, 0.06]).view(1, 3, 1, 1)


def haired(count: int = 2) -> tuple[Tensor, Fit, Reconstruction, MorphableModel, UVAtlas]:
    """Faces of the mean skin before a bluish ground, dark hair on all that lies above the brows."""
    model, atlas = model_and_atlas()
    fit = random_fit(count, 3)
    image, mesh = draw(fit, model, atlas)
    return torch.where(region(HAIR, mesh, model, atlas), DARK, image), fit, mesh, model, atlas


def region(number: int, mesh: Reconstruction, model: MorphableModel, atlas: UVAtlas) -> Tensor:
    texels = label_texels(model, atlas)[:, [number]].expand(len(mesh.vertices), -1, -1, -1)
    return render(texels, mesh.fragments, model) > 0.5


def test_every_part_gets_its_class() -> None:
    image, fit, mesh, model, atlas = haired()
    labels = labels_from_fit(image, fit, model, atlas)
    for part, label, least in (
        (FACE_REGION, FACE, 0.75),
        (HAIR, OCCLUDER, 0.3),
        (EARS_AND_NECK, BACKGROUND, 0.1),
    ):
        drawn = region(part, mesh, model, atlas)[:, 0]
        assert set(labels[drawn].tolist()) <= {label, UNKNOWN}
        assert float((labels[drawn] == label).float().mean()) > least, part
    beside = coverage(mesh.fragments)[:, 0] == 0
    assert set(labels[beside].tolist()) == {BACKGROUND, UNKNOWN}
    assert float((labels[beside] == BACKGROUND).float().mean()) > 0.7


def test_what_hides_skin_and_what_may_be_hair_beside_the_face_stay_unknown() -> None:
    image, fit, _, model, atlas = haired()
    image[:, :, 120:140, 110:140] = torch.tensor([0.2, 0.5, 0.2]).view(1, 3, 1, 1)  # before the nose
    image[:, :, :, :30] = DARK  # as long hair would be
    labels = labels_from_fit(image, fit, model, atlas)
    assert (labels[:, 120:140, 110:140] == UNKNOWN).all()
    assert (labels[:, :, :30] == UNKNOWN).all()
    assert (labels[:, :20, 230:] == BACKGROUND).all()


def test_a_beard_is_face_and_as_dark_a_forehead_is_not() -> None:
    image, fit, mesh, model, atlas = haired()
    whole, below_nose = (region(part, mesh, model, atlas) for part in (FACE_REGION, BELOW_NOSE))
    labels = labels_from_fit(torch.where(below_nose, 0.35 * image, image), fit, model, atlas)
    assert float((labels[:, None][below_nose] == FACE).float().mean()) > 0.7
    upper = whole & ~below_nose & (torch.arange(256)[:, None] < 110)
    labels = labels_from_fit(torch.where(upper, 0.35 * image, image), fit, model, atlas)
    assert float((labels[:, None][upper] == FACE).float().mean()) < 0.01


def test_without_hair_its_colours_are_unknown_and_so_is_what_lies_beside() -> None:
    model, atlas = model_and_atlas()
    fit = random_fit(1, 3)
    image, mesh = draw(fit, model, atlas)
    labels = labels_from_fit(image, fit, model, atlas)
    assert OCCLUDER not in labels
    assert (labels[coverage(mesh.fragments)[:, 0] == 0] == UNKNOWN).all()
    assert distance_to_hair(image, torch.zeros(1, 1, 256, 256, dtype=torch.bool)).isnan().all()


def test_hair_goes_on_beside_the_mesh_where_the_ground_has_other_colours() -> None:
    image, fit, mesh, model, atlas = haired()
    rows, columns = torch.arange(256)[:, None], torch.arange(256)
    beside = (coverage(mesh.fragments) == 0) & (rows < 60) & (columns > 60) & (columns < 196)
    labels = labels_from_fit(torch.where(beside, DARK, image), fit, model, atlas)
    assert float((labels[:, None][beside] == OCCLUDER).float().mean()) > 0.7
    assert (labels[:, 100:, 240:] == BACKGROUND).all()
    dark = coverage(mesh.fragments) == 0  # the whole ground
    labels = labels_from_fit(torch.where(dark, DARK, image), fit, model, atlas)
    assert (labels[:, None][dark] == UNKNOWN).all()


def test_hair_is_followed_over_narrow_gaps_only() -> None:
    hair = torch.zeros(1, 1, 64, 128, dtype=torch.bool)
    hair[..., 20:40, 40:50] = True
    distance = torch.full((1, 1, 64, 128), 9.0)
    distance[..., 20:40, 40:70] = 1  # hangs together
    distance[..., 20:40, 73:90] = 1  # over a gap of 3
    distance[..., 20:40, 100:120] = 1  # over one of 10
    found = beyond(hair, distance, ~hair)
    assert found[0, 0, 30, 52:68].all() and found[0, 0, 30, 75:88].all()
    assert not found[..., 100:].any() and not found[..., :20, :].any()


def test_what_is_as_small_as_an_eye_within_skin_is_face_and_a_dark_lens_is_not() -> None:
    image, fit, mesh, model, atlas = haired(1)
    eye = mesh.projected[0, model.landmarks[36:42], :2].mean(0).round().long()
    for half, label in ((4, FACE), (12, UNKNOWN)):  # an eye, a dark lens
        dark = image.clone()
        around = slice(eye[1] - half, eye[1] + half), slice(eye[0] - half, eye[0] + half)
        dark[:, :, *around] = DARK
        assert labels_from_fit(dark, fit, model, atlas)[0, eye[1], eye[0]] == label


def test_brightness_of_the_whole_picture_changes_little() -> None:
    image, fit, _, model, atlas = haired()
    labels, darker = (labels_from_fit(picture, fit, model, atlas) for picture in (image, 0.6 * image))
    assert float((labels == darker).float().mean()) > 0.97


def test_only_photographs_without_labels_but_with_a_fit_are_labelled() -> None:
    image, fit, _, model, atlas = haired(3)
    parsing = torch.full((3, 256, 256), UNKNOWN)
    parsing[1, 0, 0] = FACE
    vectors = fit_to_vector(fit)
    vectors[2] = torch.nan
    batch = {"image": image, "parsing": parsing, "fit": vectors}
    labelled = with_labels(batch, model, atlas)["parsing"]
    alone = labels_from_fit(image[:1], fit_from_vector(vectors[:1]), model, atlas)
    assert torch.equal(labelled[0], alone[0])
    assert torch.equal(labelled[1:], parsing[1:])
    assert (parsing[0] == UNKNOWN).all()  # the batch that was given is as it was
    without = {"image": image, "parsing": parsing}
    assert with_labels(without, model, atlas) is without
    complete = make_batch(1)
    assert with_labels(complete, model, atlas) is complete


def test_masks_grow_and_shrink_by_squares() -> None:
    mask = torch.zeros(1, 1, 9, 9, dtype=torch.bool)
    mask[0, 0, 4, 2] = True
    expected = torch.zeros_like(mask)
    expected[0, 0, 2:7, 0:5] = True
    assert torch.equal(grown(mask, 2), expected)
    expected[0, 0, :] = False
    expected[0, 0, 3:6, 0:4] = True  # the left border is no outline
    assert torch.equal(shrunk(grown(mask, 2), 1), expected)


def test_growing_is_what_pooling_does() -> None:
    mask = torch.rand(2, 2, 40, 50, generator=torch.Generator().manual_seed(0)) > 0.99
    for pixels in (0, 1, 5, 10):
        pooled = torch.nn.functional.max_pool2d(mask.float(), 2 * pixels + 1, 1, pixels) > 0
        assert torch.equal(grown(mask, pixels), pooled)
