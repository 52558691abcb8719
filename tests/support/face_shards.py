"""Small image shards of drawn faces, good ones and every kind that a fit refuses."""

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facefill.geometry.reconstruction import fit_from_vector
from facefill.landmarks import five_from_68
from facefill.samples import encode_sample
from pipelines.manifest import Manifest
from pipelines.prepared import Prepared, Slice
from pipelines.shards import write_shard_set
from tests.support.faces import make_batch, model_and_atlas

GOOD, FIVE, NONE, SCATTERED, HALF_KNOWN, UPSIDE_DOWN = "good", "five", "none", "scattered", "half", "mirrored"
NO_PICTURE = "no picture"  # stored bytes that are no JPEG


@cache
def drawn() -> dict[str, Any]:
    return make_batch(4, seed=5)


def sample_of(kind: str, number: int, with_parameters: bool) -> dict[str, Any]:
    """The fields of one sample."""
    batch = drawn()
    image = (batch["image"][number] * 255).round().byte().permute(1, 2, 0).numpy()
    landmarks = batch["landmarks"][number].numpy().copy()
    sample: dict[str, Any] = {"image": image, "landmarks": landmarks}
    if kind == FIVE:
        sample["landmarks"] = five_from_68(landmarks)
    if kind == NONE:
        del sample["landmarks"]
    if kind == SCATTERED:
        sample["landmarks"] = np.random.default_rng(number).uniform(0, 255, (68, 2))
    if kind == HALF_KNOWN:
        landmarks[20:60] = np.nan
    if kind == UPSIDE_DOWN:
        sample["landmarks"] = landmarks[::-1] * [1, -1] + [0, 255]
    if with_parameters:
        sample["parameters"] = parameters_of(number)
    return sample


def parameters_of(number: int) -> np.ndarray:
    """What 300W-3D would store of the drawn face: raw coefficients and the camera."""
    model, _ = model_and_atlas()
    fit = fit_from_vector(drawn()["fit"][number : number + 1])
    coefficients = torch.cat(
        (fit.identity * model.identity_sigma, fit.expression * model.expression_sigma), 1
    )
    camera = torch.cat((fit.camera.scale[:, None], fit.camera.euler_xyz, fit.camera.translation), 1)
    return torch.cat((coefficients, camera), 1)[0].numpy()


def prepare_faces(items: Sequence[tuple[str, str, int, bool]]) -> Iterator[Prepared]:
    for key, kind, number, with_parameters in items:
        sample = sample_of(kind, number, with_parameters)
        count = len(sample.get("landmarks", ()))
        members = encode_sample(sample)
        if kind == NO_PICTURE:
            members["image.jpg"] = bytes(200) + members["image.jpg"][200:]
        yield Prepared(key, 7, f"{key}.jpg", (1.0, 0, 0, 0, 1.0, 0), count, members)


def flip_in_picture(manifest: Manifest, place: int, byte: int) -> bytes:
    """Turn one bit of a stored picture, in place; gives its tar's bytes as they were."""
    row = manifest.rows[place]
    tar = Path(manifest.folder, row.shard)
    whole = tar.read_bytes()
    broken = bytearray(whole)
    broken[row.offsets[row.members.index("image.jpg")] + byte] ^= 1
    tar.write_bytes(broken)
    return whole


def write_face_shards(
    folder: str, kinds: Sequence[str], *, with_parameters: bool = False, per_shard: int = 3
) -> Manifest:
    """Image shards with one drawn face for each of `kinds`."""
    items = [(f"drawn/{place:03d}", kind, place % 4, with_parameters) for place, kind in enumerate(kinds)]
    slices = [
        Slice(f"drawn-train-{number:06d}.tar", "train", tuple(items[start : start + per_shard]))
        for number, start in enumerate(range(0, len(items), per_shard))
    ]
    return write_shard_set(folder, "drawn", slices, prepare_faces, config={}, workers=0)
