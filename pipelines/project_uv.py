"""Unwrap every fitted picture of a shard set: UV shards with texture, albedo, visibility and the fit
itself.

What depends on no hole is made here once. A training sample needs nothing else, so the image travels along,
byte for byte. The positions of the texels in the image are not stored: the fit (1 kB) gives them again in a
millisecond, and they would take ten times the rest. Each shard is tied to the checksum of its fits and of
the morphable model, so a projection that is older than its fit is made again.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch

from facefill.errors import UserError
from facefill.geometry.morphable_model import MorphableModel
from facefill.geometry.projection import project_photographs
from facefill.geometry.reconstruction import fit_from_vector
from facefill.geometry.uv_atlas import UVAtlas
from facefill.samples import decode_sample, encode_sample
from pipelines import jobs, storage, tables
from pipelines.fit import FitTask, device_of_worker, finished_table, fit_tasks, geometry_of, one_thread
from pipelines.manifest import Manifest, Rejected, load_manifest
from pipelines.prepared import Prepared, Slice
from pipelines.rows import Row
from pipelines.run_model import RunModel, default_run_model
from pipelines.shard_reader import ShardReader
from pipelines.shard_rows import ShardRows
from pipelines.shards import write_shard_set
from pipelines.verify import StoredShard, require_whole

PROJECTION_FORMAT = 3  # counts up when the same input gives other bytes
AT_ONCE = 16


@dataclass(frozen=True)
class FittedShard:
    """The samples of one shard and the table that their fits stand in.

    What decides whether a projection is kept is how it prints: the checksums of rows, tar and table, and not
    where they lie.
    """

    rows: ShardRows = field(repr=False)
    table: str = field(repr=False)
    rows_sha256: str
    tar_checksum: str
    table_sha256: str

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)


def project_dataset(
    shards: str,
    fits: str,
    folder: str,
    ground_truth: str = "",
    *,
    model: RunModel | None = None,
    workers: int | None = None,
    on_progress: jobs.Progress | None = None,
) -> Manifest:
    """Project all fitted samples below URL `shards` into UV shards in `folder`; what is there and valid
    is kept.
    """
    manifest = load_manifest(shards)
    model = model or default_run_model()
    tasks = fit_tasks(manifest, fits, model, ground_truth)
    samples = iter(manifest.rows)
    slices = []
    for task in tasks:
        [shard] = task.shards.shards
        rows = list(islice(samples, len(task.rows)))
        sha256 = hashlib.sha256(repr(rows).encode()).hexdigest()
        fitted = FittedShard(task.rows, task.table, sha256, shard.checksum, table_sha256(task))
        name = shard.url.replace(manifest.dataset, f"{manifest.dataset}-uv", 1)
        slices.append(Slice(name, rows[0].split, fitted))
    config = {"projection": PROJECTION_FORMAT, "model": model.checksum, "model_name": model.name}
    without_rows = replace(manifest, rows=(), rejected=())
    return write_shard_set(
        folder,
        manifest.dataset,
        slices,
        partial(prepare_projections, without_rows, model),
        config=config,
        rejected=manifest.rejected,
        workers=workers,
        on_progress=on_progress,
        on_actors=True,
    )


def table_sha256(task: FitTask) -> str:
    """The checksum of a shard's fits. Raises UserError where they are not those of this shard and model."""
    record = finished_table(task, any_encoder=True)
    if record is None:
        raise UserError(
            f"{task.table}: absent, damaged, or not the fits of this shard by this model; give the command "
            "that fits the data set again"
        )
    return record["sha256"]


def prepare_projections(
    shards: Manifest, run_model: RunModel, fitted: FittedShard
) -> Iterator[Prepared | Rejected]:
    """The UV samples of one shard, in order; samples without a fit are rejected with its reason.

    Raises UserError when tar or fits are not what they were.
    """
    [shard] = (shard for shard in shards.shards if shard.url == fitted.rows.shard)
    require_whole(StoredShard(shards.folder, shard, fitted.rows))
    if storage.sha256(fitted.table) != fitted.table_sha256:
        raise UserError(
            f"{fitted.table}: the fits have changed; give the command that fits the data set again"
        )
    with one_thread():
        model, atlas = geometry_of(run_model, device_of_worker())
    reader = ShardReader()
    fits = {row["key"]: row for row in tables.read_table(fitted.table)}
    samples = iter(fitted)
    while rows := list(islice(samples, AT_ONCE)):
        with one_thread():
            prepared = project_some(shards, rows, fits, reader, model, atlas)
        jobs.advance(len(rows))
        yield from prepared


def project_some(
    shards: Manifest,
    rows: Sequence[Row],
    fits: dict[str, dict[str, Any]],
    reader: ShardReader,
    model: MorphableModel,
    atlas: UVAtlas,
) -> list[Prepared | Rejected]:
    """A few samples at once."""
    prepared: dict[str, Prepared | Rejected] = {}
    readable: list[tuple[Row, dict[str, bytes]]] = []
    samples = []
    for row in rows:
        reason = fits[row.key]["reason"]
        members = reader.members(shards, row, ("image", "landmarks", "parsing"))  # outside: the tar's fault
        try:
            sample = decode_sample(members, ("image", "landmarks"))
        except UserError as error:
            reason = str(error)
        if reason:
            prepared[row.key] = Rejected(row.key, row.source, reason)
        else:
            readable.append((row, members))
            samples.append(sample)
    if readable:
        vectors = torch.tensor([fits[row.key]["fit"] for row, _ in readable], dtype=torch.float32)
        pictures = torch.from_numpy(np.stack([sample["image"] for sample in samples]))
        maps = project(pictures, vectors, model, atlas)
        for place, (row, members) in enumerate(readable):
            fields = {name: values[place] for name, values in maps.items()} | {"fit": vectors[place].numpy()}
            if row.landmarks == 68:
                fields["landmarks"] = samples[place]["landmarks"]
            kept = {name: members[name] for name in ("image.jpg", "parsing.png") if name in members}
            encoded = encode_sample(fields) | kept
            prepared[row.key] = Prepared(row.key, row.identity, row.source, row.similarity, 68, encoded)
    return [prepared[row.key] for row in rows]


def project(
    photographs: torch.Tensor, vectors: torch.Tensor, model: MorphableModel, atlas: UVAtlas
) -> dict[str, Any]:
    """Texture and albedo (N, 192, 256, 3) uint8, visibility (N, 192, 256) bool, landmarks (N, 68, 2) of fits
    (N, 261) to photographs (N, 256, 256, 3) uint8.
    """
    device = model.mean.device
    maps = project_photographs(photographs.to(device), fit_from_vector(vectors.to(device)), model, atlas)
    fields = {
        "uv_texture": maps.texture,
        "uv_albedo": maps.albedo,
        "uv_visible": maps.visible,
        "landmarks": maps.projected[:, model.landmarks, :2],
    }
    return {name: values.cpu().numpy() for name, values in fields.items()}
