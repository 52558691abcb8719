"""The default face model, free of licences: built from the CC0 MakeHuman head in assets/ (assets/README.md).

Building takes a second or two; the result is kept in $FACEFILL_CACHE, or ~/.cache/facefill, under the
checksum of the asset and of the code that builds from it.
"""

import functools
import hashlib
import os
import zipfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facefill.geometry import (
    albedo_painting,
    albedo_space,
    head_asset,
    head_model,
    morphable_model,
    subdivision,
    uv_atlas,
)
from facefill.geometry.albedo_painting import Palette, paint_albedo, region_fields, texel_places
from facefill.geometry.albedo_space import skin_space
from facefill.geometry.head_asset import STEPS_PER_TEXEL, load_asset
from facefill.geometry.head_model import HeadModel, build_head
from facefill.geometry.morphable_model import MorphableModel, load_model, save_model
from facefill.geometry.uv_atlas import UVAtlas, rasterize_atlas

NAME = "facefill-head-cc0"
Part = TypeVar("Part")


@functools.cache
def default_model() -> MorphableModel:
    """The face area of the CC0 head: about 11,700 vertices, a disk with the mouth as its one hole."""
    path = _cached("face")
    stored = _read(path, load_model)
    if stored is not None:
        return stored
    model = _face_of(default_head())
    _publish(path, lambda partial: save_model(model, partial))
    return model


@functools.cache
def default_head() -> HeadModel:
    """The whole head that default_model() is the face of."""
    path = _cached("head")
    stored = _read(path, _load_head)
    if stored is not None:
        return stored
    head = build_head(load_asset())
    _publish(path, lambda partial: _save_head(head, partial))
    return head


def albedo_regions() -> dict[str, NDArray[np.float64]]:
    """Soft weights (192, 256) in [0, 1] of what lies where in the default atlas; all mirror-symmetric.

    face, skin, lips, brows, eyes (the openings), iris, pupil, lashes, cheeks, nose, nostrils, eye_sockets,
    beard, forehead, ears, scalp, creases (hollows); and the paint textures mottle and iris_fibres (-1..1),
    iris_rim, eye_rim.
    """
    return _regions(default_head())


def _face_of(head: HeadModel) -> MorphableModel:
    asset = load_asset()
    chosen = head.face_vertices
    identity, expression = head.identity_basis[:, chosen], head.expression_basis[:, chosen]
    regions = _regions(head)
    painted = paint_albedo(regions, Palette())
    mean_albedo, skins = skin_space(regions, texel_places(head, _atlas(head)), painted, Palette())
    return MorphableModel(
        name=NAME,
        mean=head.mean[chosen],
        identity_basis=identity,
        expression_basis=expression,
        identity_sigma=_displacement(identity),
        expression_sigma=_displacement(expression),
        triangles=_face_triangles(head),
        landmarks=torch.from_numpy(asset.landmarks.astype(np.int64)),
        mirror=_face_ids(head)[head.mirror[chosen]],
        uv=torch.from_numpy((asset.uv / STEPS_PER_TEXEL).astype(np.float32)),
        mean_albedo=torch.from_numpy(mean_albedo.astype(np.float32)),
        albedo_basis=torch.from_numpy(skins.astype(np.float32)),
    )


def _regions(head: HeadModel) -> dict[str, NDArray[np.float64]]:
    return region_fields(head, _face_triangles(head).numpy(), _atlas(head))


def _atlas(head: HeadModel) -> UVAtlas:
    mirror = _face_ids(head)[head.mirror[head.face_vertices]].numpy()
    return rasterize_atlas(load_asset().uv / STEPS_PER_TEXEL, _face_triangles(head).numpy(), mirror)


def _face_ids(head: HeadModel) -> Tensor:
    """Face vertex (H,) of each head vertex, -1 outside the face."""
    ids = torch.full((len(head.mean),), -1)
    ids[head.face_vertices] = torch.arange(len(head.face_vertices))
    return ids


def _face_triangles(head: HeadModel) -> Tensor:
    return _face_ids(head)[head.triangles[head.face_triangle]]


def _displacement(basis: Tensor) -> Tensor:
    """Root mean square vertex displacement (K,) of each component of a basis (K, V, 3)."""
    return basis.double().square().sum(-1).mean(-1).sqrt().float()


def _cached(part: str) -> Path:
    """Where a built part lives; another asset or other code gives another name."""
    digest = hashlib.sha256(head_asset.asset_checksum().encode())
    for module in (
        albedo_painting,
        albedo_space,
        head_asset,
        head_model,
        morphable_model,
        subdivision,
        uv_atlas,
    ):
        digest.update(Path(str(module.__file__)).read_bytes())
    digest.update(Path(__file__).read_bytes())
    folder = os.environ.get("FACEFILL_CACHE") or Path.home() / ".cache" / "facefill"
    return Path(folder) / f"{NAME}-{part}-{digest.hexdigest()[:16]}.npz"


def _read(path: Path, load: Callable[[Path], Part]) -> Part | None:
    """A built part from the cache; None where there is none, or a damaged one that has to be built again."""
    try:
        return load(path)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return None


def _publish(path: Path, write: Callable[[Path], None]) -> None:
    """Write into the cache; a cache that cannot be written is no error, the next process builds again."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)
    except OSError:
        return


def _save_head(head: HeadModel, path: Path) -> None:
    arrays = {
        field.name: np.array(value) if field.name == "unit_names" else value.numpy()
        for field in fields(HeadModel)
        for value in [getattr(head, field.name)]
    }
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with partial.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)
    os.replace(partial, path)


def _load_head(path: Path) -> HeadModel:
    with np.load(path, allow_pickle=False) as stored:
        names = tuple(str(name) for name in stored["unit_names"])
        tensors = {
            field.name: torch.from_numpy(stored[field.name])
            for field in fields(HeadModel)
            if field.name != "unit_names"
        }
    return HeadModel(unit_names=names, **tensors)
