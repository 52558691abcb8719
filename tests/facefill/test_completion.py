"""The completion loop: what may influence the result, what must not, and what stays as it was."""

from dataclasses import replace

import torch

from facefill.completion import blend, complete, factorize, hide, inpaint, mean_albedo_of, refined
from facefill.geometry.reconstruction import Fit, fit_from_vector
from facefill.metrics.image import psnr
from facefill.networks.encoder import Encoder
from facefill.networks.sym_unet import SymUNet
from tests.support.faces import make_batch, model_and_atlas
from tests.support.inpainters import KnowsTheAlbedo


def hole_of(count: int, size: int) -> torch.Tensor:
    hole = torch.zeros(count, 1, size, size)
    hole[:, :, 90:150, 100:170] = 1
    return hole


def test_hidden_pixels_cannot_influence_the_result() -> None:
    model, atlas = model_and_atlas()
    torch.manual_seed(0)
    encoder, inpainter = Encoder(0.125).eval(), SymUNet(0.125).eval()
    image = make_batch(1)["image"][..., 16:240, 16:240]
    hole = hole_of(1, 224)
    noise = torch.where(hole > 0, torch.rand_like(image), image)
    with torch.no_grad():
        first = complete(image, hole, encoder, inpainter, model, atlas)
        second = complete(noise, hole, encoder, inpainter, model, atlas)
    assert len(first) == 2
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a.image, b.image)
        assert torch.equal(a.albedo, b.albedo)


def test_pixels_outside_the_hole_stay_equal_and_the_second_pass_differs() -> None:
    model, atlas = model_and_atlas()
    torch.manual_seed(0)
    encoder, inpainter = Encoder(0.125).eval(), SymUNet(0.125).eval()
    image = make_batch(1)["image"][..., 16:240, 16:240]
    hole = hole_of(1, 224)
    with torch.no_grad():
        first, second = complete(image, hole, encoder, inpainter, model, atlas)
    outside = (hole == 0).expand_as(image)
    assert torch.equal(second.image[outside], image[outside])
    assert not torch.equal(first.image, second.image)
    assert not bool((second.image[~outside] == 0.5).all())


def test_with_the_true_albedo_and_fit_the_hole_is_filled_with_the_truth() -> None:
    model, atlas = model_and_atlas()
    batch = make_batch(2)
    image, fit, hole = batch["image"], fit_from_vector(batch["fit"]), hole_of(2, 256)
    factors = factorize(hide(image, hole), hole, fit, model, atlas)
    completion = inpaint(image, hole, factors, fit, mean_albedo_of(model), model)
    assert float(psnr(completion.image, image, hole).min()) > 40
    assert bool((factors.known <= factors.visible).all())
    assert float(factors.known.sum()) < float(factors.visible.sum())


def test_known_texels_have_the_albedo_of_the_whole_image() -> None:
    model, atlas = model_and_atlas()
    batch = make_batch(1)
    image, fit, hole = batch["image"], fit_from_vector(batch["fit"]), hole_of(1, 256)
    whole = factorize(image, hole, fit, model, atlas)
    masked = factorize(hide(image, hole), hole, fit, model, atlas)
    assert 0 < float(whole.known.sum()) < float(whole.visible.sum())
    assert torch.allclose(whole.albedo * whole.known, masked.albedo * masked.known, atol=1e-5)


def test_hole_pixels_off_the_mesh_are_filled_from_around() -> None:
    model, atlas = model_and_atlas()
    batch = make_batch(1)
    hole = torch.zeros(1, 1, 256, 256)
    hole[:, :, :30, :30] = 1  # background only
    fit = fit_from_vector(batch["fit"])
    factors = factorize(hide(batch["image"], hole), hole, fit, model, atlas)
    completion = inpaint(
        hide(batch["image"], hole), hole, factors, fit, KnowsTheAlbedo(model.mean_albedo[None]), model
    )
    assert (completion.image - batch["image"]).abs().max() < 0.05


def test_a_rendering_that_is_too_dark_leaves_no_seam() -> None:
    generator = torch.Generator().manual_seed(0)
    image = 0.5 + 0.02 * torch.randn(1, 3, 64, 64, generator=generator)
    hole = torch.zeros(1, 1, 64, 64)
    hole[:, :, 20:40, 24:44] = 1
    covered = torch.zeros(1, 1, 64, 64)
    covered[:, :, 8:56, 8:56] = 1
    rendered = (image - 0.2) * covered
    blended = blend(hide(image, hole), hole, rendered, covered)
    outside = (hole == 0).expand_as(image)
    assert torch.equal(blended[outside], image[outside])
    assert float((blended - image)[~outside].abs().mean()) < 0.02
    hidden = torch.where(hole > 0, torch.rand(image.shape, generator=generator), image)
    assert torch.equal(blend(hidden, hole, rendered, covered), blended)


def test_the_pixels_around_the_hole_bring_a_fit_that_is_off_nearer() -> None:
    model, atlas = model_and_atlas()
    batch = make_batch(2)
    true, hole = fit_from_vector(batch["fit"]), hole_of(2, 256)
    camera = replace(true.camera, translation=true.camera.translation + 6.0)
    fit = refined(
        hide(batch["image"], hole),
        hole,
        Fit(true.identity, true.expression, camera, true.illumination),
        model,
        atlas,
    )
    off = (fit.camera.translation - true.camera.translation).norm(dim=1)
    assert float(off.max()) < 6  # px, of 8.5; the true landmarks would take all of it away
