"""Relighting: the face changes as the lamp says, everything else stays bit for bit."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch.nn.functional import max_pool2d

from facefill.geometry.reconstruction import reconstruct
from facefill.geometry.spherical_harmonics import ambient_illumination, shade
from facefill.geometry.texture import coverage
from facefill.relighting import DIRECTIONS, FEATHER, light_from, relight
from tests.support.faces import draw, model_and_atlas, random_fit


def test_nothing_outside_the_face_changes_and_the_face_does() -> None:
    model, atlas = model_and_atlas()
    fit = random_fit(2, seed=3)
    image, mesh = draw(fit, model, atlas)
    relit = relight(image, fit, light_from(fit, DIRECTIONS["left"]), model, atlas)
    outside = (coverage(mesh.fragments) == 0).expand_as(image)
    assert torch.equal(relit[outside], image[outside])
    assert float((relit - image)[~outside].abs().mean()) > 0.03


def test_the_same_light_changes_nothing_anywhere() -> None:
    model, atlas = model_and_atlas()
    fit = random_fit(1, seed=4)
    image, _ = draw(fit, model, atlas)
    assert float((relight(image, fit, fit.illumination, model, atlas) - image).abs().max()) < 1e-6


def test_it_is_the_face_as_the_other_light_would_draw_it() -> None:
    model, atlas = model_and_atlas()
    fit = random_fit(1, seed=5)
    other = light_from(fit, DIRECTIONS["above"], part=0.4)
    image, mesh = draw(fit, model, atlas)
    wanted, _ = draw(replace(fit, illumination=other), model, atlas)
    relit = relight(image, fit, other, model, atlas)
    inner = -max_pool2d(-coverage(mesh.fragments), 21, 1, 10) > 0
    unclipped = (inner & (image < 0.99).all(1, keepdim=True)).expand_as(image)
    assert float((relit - wanted)[unclipped].abs().mean()) < 0.004


def test_a_tint_that_differs_from_side_to_side_paints_nothing() -> None:
    """Fitted lights have it; grey skin must stay grey under a white lamp."""
    model, atlas = model_and_atlas()
    fit = random_fit(1, seed=7)
    uneven = fit.illumination.clone()
    uneven[:, 0, 3], uneven[:, 2, 3] = uneven[:, 0, 3] + 0.2, uneven[:, 2, 3] - 0.2
    grey = torch.full((1, 3, 256, 256), 0.4)
    relit = relight(
        grey, replace(fit, illumination=uneven), light_from(fit, DIRECTIONS["right"]), model, atlas
    )
    assert float((relit.amax(1) - relit.amin(1)).max()) < 1e-4
    assert float(relit.amax() - relit.amin()) > 0.1


def test_the_change_sets_in_over_a_few_pixels_inside_the_outline() -> None:
    """Half as much light from everywhere again: how much arrives, pixel by pixel from the outline."""
    model, atlas = model_and_atlas()
    fit = replace(random_fit(1, seed=8), illumination=ambient_illumination(1, 0.8))
    grey = torch.full((1, 3, 256, 256), 0.4)
    arrived = (relight(grey, fit, ambient_illumination(1, 1.2), model, atlas) - grey).mean(1) / 0.2
    covered = coverage(reconstruct(fit, model, atlas, 256, 256).fragments)
    means = []
    for _ in range(2 * FEATHER):
        inner = -max_pool2d(-covered, 3, 1, 1)
        means.append(float(arrived[(covered > inner)[:, 0]].mean()))
        covered = inner
    assert means[0] < 0.25
    assert all(later > earlier + 0.1 for earlier, later in pairwise(means[:FEATHER]))
    assert min(means[FEATHER + 2 :]) > 0.97


@pytest.mark.parametrize("name", DIRECTIONS)
def test_a_lamp_is_brightest_where_it_stands_and_keeps_the_brightness_between_it_and_the_camera(
    name: str,
) -> None:
    fit = random_fit(1, seed=6)
    light = light_from(fit, DIRECTIONS[name])
    towards = torch.nn.functional.normalize(torch.tensor(DIRECTIONS[name]), dim=0)
    camera = torch.tensor((0.0, 0.0, 1.0))
    normals = torch.stack((towards, -towards, camera))[None]
    lit = shade(normals, light)[0]
    assert bool((lit[0] > lit[1]).all())
    before = shade(normals, fit.illumination)[0, 2]
    assert torch.allclose((lit[0] + lit[2]) / 2, before, atol=1e-5)
