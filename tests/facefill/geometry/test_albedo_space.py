"""The space of skins: exact steps, mirror images, one standard deviation of people each."""

import numpy as np
import torch

from facefill.geometry.albedo_space import STEPS, TONES
from facefill.geometry.default_model import albedo_regions, default_model
from facefill.geometry.uv_atlas import flip_uv
from facefill.synthetic.people import sample_person

GAZE_ACROSS = -2  # the last two move the iris: across, which is its own opposite in the mirror, and up


def test_components_are_exact_steps_within_the_face():
    model = default_model()
    assert 20 <= len(model.albedo_basis) <= 30
    steps = model.albedo_basis * STEPS
    assert torch.equal(steps, steps.round())
    face = torch.from_numpy(albedo_regions()["face"]) > 0
    assert (model.albedo_basis[:, :, ~face] == 0).all()
    assert (model.albedo_basis.abs().amax((1, 2, 3)) > 0.01).all()


def test_skins_are_symmetric_and_the_gaze_is_not():
    basis = default_model().albedo_basis
    mirrored = flip_uv(basis)
    gaze = len(basis) + GAZE_ACROSS
    for number in range(len(basis)):
        expected = -basis[number] if number == gaze else basis[number]
        assert (mirrored[number] - expected).abs().max() <= 1 / STEPS, number


def test_tones_spread_as_people_do():
    tones = np.array([sample_person(seed).tone for seed in range(300)])
    people = np.sqrt(np.linalg.eigvalsh(np.cov(tones.T))[::-1])
    own = np.linalg.norm(np.array(TONES), axis=1)
    assert np.allclose(people[0], own[0], rtol=0.15)
    assert (own[1:] > 0.8 * people[1:]).all()


def test_people_s_colours_are_in_reach():
    """Skin and lips of sampled people by the first components, within two and a half standard deviations."""
    model, regions = default_model(), albedo_regions()
    skin = (regions["skin"] > 0.99) & (regions["cheeks"] < 0.02) & (regions["beard"] < 0.01)
    place = np.argwhere(skin & (regions["creases"] < 0.01))[::200]
    columns = model.albedo_basis[:3, :, place[:, 0], place[:, 1]].mean(2).numpy().T
    middle = model.mean_albedo[:, place[:, 0], place[:, 1]].mean(1).numpy()
    for seed in range(40):
        coefficients = np.linalg.solve(columns, sample_person(seed).tone - middle)
        assert np.abs(coefficients).max() < 2.6, seed
