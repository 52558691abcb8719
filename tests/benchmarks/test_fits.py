"""The measure of fits: the truth scores perfectly, errors are counted, genuine samples are read right."""

import pytest
import torch

from benchmarks.__main__ import main
from benchmarks.fits import BY_LANDMARKS, REFINED, fit_by, parity, residual_px, rms, table
from benchmarks.fits_data import aflw2000, celeba, check_samples, rendered_faces, three_hundred_w_lp
from facefill.errors import UserError
from facefill.geometry.default_model import default_model
from facefill.geometry.reconstruction import Fit, shift_fit
from facefill.geometry.uv_atlas import build_atlas
from facefill.landmarks import INNER


@torch.no_grad()
def test_the_truth_has_no_error_and_a_wrong_shape_has():
    model = default_model()
    atlas = build_atlas(model)
    known = rendered_faces(2, model, atlas)
    perfect = parity(known, known.fit, model, atlas)
    assert max(perfect[name] for name in ("surface (px)", "surface (mm)", "identity (σ)", "shading")) < 1e-3
    assert perfect["pose (°)"] < 0.1 and perfect["albedo (dB)"] > 25
    other = Fit(
        known.fit.identity + 0.5, known.fit.expression, known.fit.camera, 1.2 * known.fit.illumination
    )
    wrong = parity(known, other, model, atlas)
    assert abs(wrong["identity (σ)"] - 0.5) < 1e-4 and wrong["surface (mm)"] > 0.5
    assert wrong["shading"] > 0.1 and wrong["albedo (dB)"] < perfect["albedo (dB)"]
    shifted = parity(known, shift_fit(known.fit, torch.tensor([3.0, 4.0])), model, atlas)
    assert abs(shifted["surface (px)"] - 5) < 0.01 and shifted["surface (mm)"] < 1e-3


@torch.no_grad()
def test_pixels_improve_fits_of_rendered_faces():
    model = default_model()
    atlas = build_atlas(model)
    known = rendered_faces(3, model, atlas)
    weights = torch.ones(3, 68)
    first, refined = (
        parity(known, fit_by(method, known.images, known.points, weights, model, atlas).fit, model, atlas)
        for method in (BY_LANDMARKS, REFINED)
    )
    assert refined["surface (mm)"] < 0.95 * first["surface (mm)"]


def test_table_is_markdown_and_leaves_what_is_unknown_empty():
    lines = table("faces", {"a": {"x": 1.0, "y": 2.0}, "b": {"x": 0.5}}).splitlines()
    assert lines == [
        "| faces | a | b |",
        "| --- | ---: | ---: |",
        "| x | 1.000 | 0.500 |",
        "| y | 2.000 |  |",
    ]
    assert rms(torch.tensor([3.0, 4.0])) == torch.tensor(12.5).sqrt()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "ict"], "the ict face model needs a path"),
        (["--model", "ict", "--model-path", "/nonexistent"], "/nonexistent does not exist"),
        (["--model-path", "/nonexistent"], "takes no files"),
        (["--realdata", "/nonexistent"], "/nonexistent/celeba/landmarks68_dlib.csv is missing"),
        (["--model", "statismo", "--model-path", __file__], "names no 68 landmarks"),
        (
            ["--model", "statismo", "--model-path", __file__, "--landmarks", "/none.txt"],
            "/none.txt is missing",
        ),
    ],
)
def test_mistakes_are_one_line_before_anything_is_measured(arguments, message, capsys):
    assert main(["fits", *arguments]) == 2
    printed = capsys.readouterr()
    assert message in printed.err and printed.err.startswith("benchmarks: ") and printed.err.count("\n") == 1
    assert not printed.out


def test_photographs_beyond_the_last_are_refused(realdata):
    check_samples(realdata)
    with pytest.raises(UserError, match="no CelebA photograph from number 100000 on: the samples have"):
        celeba(realdata, 100_000, 5)


@torch.no_grad()
def test_genuine_samples_are_fitted(realdata):
    model = default_model()
    atlas = build_atlas(model)
    photographs, five = celeba(realdata, 0, 4)
    assert photographs.images.shape == (4, 3, 218, 178) and five.points.shape[1:] == (5, 2)
    found = fit_by(REFINED, photographs.images, photographs.points, photographs.weights, model, atlas)
    assert residual_px(photographs, found.fit, model, INNER).mean() < 0.9
    assert rms(found.fit.identity) < 1 and found.photometric.mean() < 0.2


def test_points_of_the_sets_agree_with_their_own_3d_landmarks(realdata):
    turned, large = aflw2000(realdata), three_hundred_w_lp(realdata)
    for faces, limit in ((turned, 0.03), (large, 0.07)):
        off = torch.linalg.vector_norm(faces.points - faces.truth, dim=2) / faces.box[:, None]
        assert off[faces.weights > 0].mean() < limit

    assert turned.points.isnan().any()  # AFLW marks 21 points, and those only where they can be seen
