"""New views: the face turns, keeps what the photograph shows, and has a mouth."""

from dataclasses import replace

import torch

from facefill.completion import Completion, factorize, inpaint
from facefill.geometry.reconstruction import fit_from_vector
from facefill.views import BACKGROUND, YAWS, render_views
from tests.support.faces import make_batch, model_and_atlas
from tests.support.inpainters import KnowsTheAlbedo


def completed(opening: float) -> Completion:
    """A face completed with the true albedo; `opening`: sigma of the first expression component."""
    model, atlas = model_and_atlas()
    batch = make_batch(1)
    fit = fit_from_vector(batch["fit"])
    expression = torch.zeros_like(fit.expression)
    expression[:, 0] = opening
    fit = replace(fit, expression=expression)
    hole = torch.zeros(1, 1, 256, 256)
    factors = factorize(batch["image"], hole, fit, model, atlas)
    return inpaint(batch["image"], hole, factors, fit, KnowsTheAlbedo(model.mean_albedo[None]), model)


def test_five_views_differ_and_the_middle_one_is_nearly_symmetric() -> None:
    model, atlas = model_and_atlas()
    views = render_views(completed(0.0), model, atlas)
    assert views.shape == (len(YAWS), 3, 224, 224)
    assert float(views.min()) >= 0 and float(views.max()) <= 1
    ground = (views == BACKGROUND).all(1)
    assert 0.2 < float(ground.float().mean()) < 0.9
    left, right = ground[0].sum(0).float(), ground[-1].sum(0).float().flip(0)
    assert float((left - right).abs().mean()) < 12
    assert not torch.equal(views[0], views[-1])


def test_no_ground_shines_through_an_open_mouth() -> None:
    model, atlas = model_and_atlas()
    for opening in (-2.0, 2.0):
        views = render_views(completed(opening), model, atlas)
        ground = (views == BACKGROUND).all(1)
        # ground that has face left and right of it in its row, above and below it in its column, is a hole
        face = ~ground
        across = face.cummax(2).values & face.flip(2).cummax(2).values.flip(2)
        down = face.cummax(1).values & face.flip(1).cummax(1).values.flip(1)
        middle = (ground & across & down)[:, 100:200, 60:164]
        assert int(middle.sum()) < 25, int(middle.sum())
