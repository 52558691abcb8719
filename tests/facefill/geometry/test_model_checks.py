"""Checks that a good model passes and a spoilt one fails by name."""

import re
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from facefill.geometry.default_model import default_model
from facefill.geometry.model_checks import check_model
from facefill.geometry.morphable_model import MorphableModel


def failures(model: MorphableModel) -> set[str]:
    return {check.name for check in check_model(model) if not check.passed}


def test_the_default_model_passes() -> None:
    checks = check_model(default_model())
    assert {check.name for check in checks if not check.passed} == set()
    assert all(check.figure for check in checks)


def swapped(values: Tensor) -> Tensor:
    changed = values.clone()
    changed[0], changed[30] = values[30], values[0]
    return changed


@pytest.mark.parametrize(
    ("field", "spoil", "name"),
    [
        ("mean", lambda v: v * 0.01, "size"),
        ("mean", lambda v: v + torch.tensor([9e3, 0, 0]), "mirror"),
        ("mean_albedo", lambda v: v * 3, "albedo"),
        ("identity_basis", lambda v: v * 100, "identity"),
        ("identity_basis", lambda v: torch.where(v == v.max(), torch.nan, v), "numbers"),
        ("expression_sigma", lambda v: v * 0, "expression"),
        ("landmarks", lambda v: v[:1].repeat(68), "landmarks"),
        ("landmarks", swapped, "landmark pairs"),
    ],
)
def test_what_is_spoilt_is_named(field: str, spoil, name: str) -> None:
    model = default_model()
    assert name in failures(replace(model, **{field: spoil(getattr(model, field))}))


def test_a_flipped_triangle_of_the_atlas_is_counted() -> None:
    model = default_model()
    uv = model.uv.clone()
    centre = int(model.landmarks[30])
    uv[centre, 1] += 30
    checks = {check.name: check for check in check_model(replace(model, uv=uv))}
    assert not checks["atlas flips"].passed


def test_texels_of_two_triangles_are_counted_though_none_is_flipped() -> None:
    model = default_model()
    twice = torch.cat([model.triangles, model.triangles])
    checks = {check.name: check for check in check_model(replace(model, triangles=twice))}
    found = re.fullmatch(
        r"0 of [\d,]+ triangles flipped, (\d+) texels shown twice", checks["atlas flips"].figure
    )
    assert found is not None and int(found[1]) > 30_000 and not checks["atlas flips"].passed
