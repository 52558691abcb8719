"""A small made-up model: linearity, mirroring, checksum, files."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from facefill.errors import UserError
from facefill.geometry.morphable_model import (
    MorphableModel,
    check_usable,
    checksum,
    load_model,
    mirror_coefficients,
    save_model,
    vertices_from_coefficients,
)

VERTICES = 40


def small_model(pure: bool) -> MorphableModel:
    """40 vertices in 20 mirror pairs; `pure`: every component symmetric or antisymmetric."""
    generator = torch.Generator().manual_seed(3)
    mirror = torch.arange(VERTICES).view(-1, 2).flip(1).flatten()
    flip = torch.tensor([-1.0, 1.0, 1.0])
    mean = torch.randn(VERTICES, 3, generator=generator)
    mean = mean + mean[mirror] * flip
    bases = []
    for count in (199, 29):
        basis = torch.randn(count, VERTICES, 3, generator=generator)
        if pure:
            sign = torch.where(torch.arange(count) % 3 == 0, -1.0, 1.0)[:, None, None]
            basis = basis + sign * (basis[:, mirror] * flip)
        bases.append(basis)
    return MorphableModel(
        name="small",
        mean=mean,
        identity_basis=bases[0],
        expression_basis=bases[1],
        identity_sigma=torch.ones(199),
        expression_sigma=torch.ones(29),
        triangles=torch.tensor([[0, 2, 4], [1, 5, 3]]),
        landmarks=torch.arange(68) % VERTICES,
        mirror=mirror,
        uv=torch.zeros(VERTICES, 2),
        mean_albedo=torch.full((3, 192, 256), 0.5),
        albedo_basis=torch.full((2, 3, 192, 256), 0.1),
    )


def coefficients(count: int = 5) -> torch.Tensor:
    return torch.randn(count, 228, generator=torch.Generator().manual_seed(4))


def test_vertices_are_the_mean_plus_weighted_components() -> None:
    model, code = small_model(pure=False), coefficients()
    vertices = vertices_from_coefficients(model, code[:, :199], code[:, 199:])
    expected = model.mean.clone().repeat(5, 1, 1)
    for k in range(228):
        component = model.identity_basis[k] if k < 199 else model.expression_basis[k - 199]
        expected += code[:, k, None, None] * component
    torch.testing.assert_close(vertices, expected, rtol=1e-4, atol=1e-4)


def test_mirrored_coefficients_make_the_mirrored_face() -> None:
    model, code = small_model(pure=True), coefficients()
    matrix = mirror_coefficients(model)
    assert set(torch.diag(matrix).tolist()) == {-1.0, 1.0}
    assert torch.equal(matrix @ matrix, torch.eye(228))
    plain = vertices_from_coefficients(model, code[:, :199], code[:, 199:])
    mirrored_code = code @ matrix
    mirrored = vertices_from_coefficients(model, mirrored_code[:, :199], mirrored_code[:, 199:])
    torch.testing.assert_close(mirrored, plain[:, model.mirror] * torch.tensor([-1.0, 1.0, 1.0]))


def test_components_without_symmetry_are_mirrored_within_their_own_span() -> None:
    generator = torch.Generator().manual_seed(7)
    model = small_model(pure=True)
    turn = torch.linalg.qr(torch.randn(29, 29, generator=generator)).Q
    mixed = dataclasses.replace(
        model,
        expression_basis=torch.tensordot(turn, model.expression_basis, 1),
        identity_basis=model.identity_basis,
    )
    code = coefficients()
    code[:, :199] = 0
    mirrored_code = code @ mirror_coefficients(mixed)
    plain = vertices_from_coefficients(mixed, code[:, :199], code[:, 199:])
    mirrored = vertices_from_coefficients(mixed, mirrored_code[:, :199], mirrored_code[:, 199:])
    expected = plain[:, mixed.mirror] * torch.tensor([-1.0, 1.0, 1.0])
    torch.testing.assert_close(mirrored, expected, rtol=1e-3, atol=1e-3)


def test_a_file_gives_the_same_model_back(tmp_path: Path) -> None:
    model = small_model(pure=False)
    save_model(model, tmp_path / "model.npz")
    assert [p.name for p in tmp_path.iterdir()] == ["model.npz"]
    loaded = load_model(tmp_path / "model.npz")
    assert checksum(loaded) == checksum(model)
    assert loaded.name == "small" and loaded.triangles.dtype == torch.int64


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(MorphableModel)])
def test_the_checksum_sees_every_field(field: str) -> None:
    model = small_model(pure=False)
    value = getattr(model, field)
    changed = value + "!" if field == "name" else value.clone()
    if field != "name":
        changed.view(-1)[-1] += 1
    assert checksum(dataclasses.replace(model, **{field: changed})) != checksum(model)


def test_unreadable_files_are_the_users_to_mend(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no morphable model"):
        load_model(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("not a model")
    with pytest.raises(UserError, match="not a morphable model"):
        load_model(tmp_path / "text.npz")
    save_model(small_model(pure=False), tmp_path / "half.npz")
    content = (tmp_path / "half.npz").read_bytes()
    (tmp_path / "half.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="not a morphable model"):
        load_model(tmp_path / "half.npz")
    np.savez(tmp_path / "other.npz", mean=np.zeros((4, 3)))
    with pytest.raises(UserError, match="not a morphable model"):
        load_model(tmp_path / "other.npz")


@pytest.mark.parametrize(
    ("field", "spoil", "fault"),
    [
        ("triangles", lambda v: v.double(), "triangles holds float64, expected int64"),
        (
            "triangles",
            lambda v: v + VERTICES,
            "triangles holds vertex numbers from 40 to 45, expected 0 to 39",
        ),
        ("triangles", lambda v: v[:0], "triangles is empty"),
        ("landmarks", lambda v: v - 1, "landmarks holds vertex numbers from -1"),
        ("mirror", lambda v: v + 1, "mirror holds vertex numbers from 1 to 40"),
        ("mean", lambda v: v.double(), "mean holds float64, expected float32"),
        (
            "identity_basis",
            lambda v: v.index_fill(0, torch.tensor([7]), torch.nan),
            "identity_basis holds NaN",
        ),
        ("uv", lambda v: v - torch.inf, "uv holds NaN or infinite"),
    ],
)
def test_a_saved_model_that_cannot_be_used_is_refused(tmp_path: Path, field: str, spoil, fault: str) -> None:
    model, path = small_model(pure=False), tmp_path / "bad.npz"
    save_model(dataclasses.replace(model, **{field: spoil(getattr(model, field))}), path)
    with pytest.raises(UserError, match=rf"bad\.npz is not a usable face model: {fault}"):
        load_model(path)


def test_large_values_are_no_fault() -> None:
    model = small_model(pure=False)
    check_usable(
        dataclasses.replace(model, mean=torch.full_like(model.mean, 3e38)), "large"
    )  # inf in the sum


def test_files_of_other_kinds_are_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty.npz").write_bytes(b"")
    np.save(tmp_path / "one.npy", np.zeros(3))
    for name in ("empty.npz", "one.npy"):
        with pytest.raises(UserError, match=f"{name} is not a morphable model"):
            load_model(tmp_path / name)


def test_shapes_are_checked_when_a_model_is_made_and_used() -> None:
    model = small_model(pure=False)
    with pytest.raises(ValueError, match="landmarks"):
        dataclasses.replace(model, landmarks=torch.zeros(67, dtype=torch.int64))
    with pytest.raises(ValueError, match="identity"):
        vertices_from_coefficients(model, torch.zeros(2, 100), torch.zeros(2, 29))


def test_to_moves_every_tensor() -> None:
    moved = small_model(pure=False).to("meta")
    tensors = [getattr(moved, f.name) for f in dataclasses.fields(moved) if f.name != "name"]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
