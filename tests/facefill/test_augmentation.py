"""Crops and flips keep everything that belongs to a face together."""

import torch

from facefill.augmentation import CROP, centre_crop, crop_and_flip, flip, rectangles
from facefill.geometry.morphable_model import mirror_coefficients
from facefill.geometry.reconstruction import fit_from_vector
from tests.support.faces import draw, make_batch, model_and_atlas


def test_a_flipped_fit_draws_the_flipped_picture() -> None:
    model, atlas = model_and_atlas()
    batch = make_batch(3)
    flipped = flip(batch, torch.tensor([True, False, True]), mirror_coefficients(model))
    drawn, mesh = draw(fit_from_vector(flipped["fit"]), model, atlas)
    assert (drawn - flipped["image"]).abs().mean() < 2e-3
    assert torch.equal(flipped["image"][1], batch["image"][1])
    assert torch.equal(flipped["image"][0], batch["image"][0].flip(-1))
    points = mesh.projected[:, model.landmarks, :2]
    assert (points - flipped["landmarks"]).abs().max() < 0.05


def test_a_crop_moves_camera_and_landmarks_with_the_pixels() -> None:
    model, atlas = model_and_atlas()
    example = crop_and_flip(make_batch(3), mirror_coefficients(model))
    assert example["image"].shape == (3, 3, CROP, CROP)
    drawn, mesh = draw(fit_from_vector(example["fit"]), model, atlas, CROP)
    assert (drawn - example["image"]).abs().mean() < 2e-3
    assert (mesh.projected[:, model.landmarks, :2] - example["landmarks"]).abs().max() < 0.05


def test_augmentation_is_a_function_of_the_samples_seed() -> None:
    model, _ = model_and_atlas()
    mirror = mirror_coefficients(model)
    batch = make_batch(4)
    whole = crop_and_flip(batch, mirror)["image"]
    part = crop_and_flip({k: v[2:] for k, v in batch.items()}, mirror)["image"]
    assert torch.equal(whole[2:], part)
    assert torch.equal(rectangles(batch)[2:], rectangles({k: v[2:] for k, v in batch.items()}))
    other = crop_and_flip(batch | {"seed": batch["seed"] + 1}, mirror)["image"]
    assert not torch.equal(whole, other)


def test_the_centre_crop_is_the_middle() -> None:
    batch = make_batch(1)
    assert torch.equal(centre_crop(batch)["image"], batch["image"][..., 16:240, 16:240])


def test_a_share_of_the_samples_gets_no_rectangle() -> None:
    batch = {"image": torch.zeros(64, 3, 224, 224), "seed": torch.arange(64)}
    holes = rectangles(batch, 0.5).flatten(1).sum(1)
    assert 10 < int((holes == 0).sum()) < 54
    assert bool((rectangles(batch).flatten(1).sum(1) > 0).all())
