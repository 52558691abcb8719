"""Fit the morphable model to every picture of a shard set: on Ray actors, one Parquet file per shard.

The fits come from landmarks and pixels, or from a trained encoder (`fit_encoder.py`). A file is kept while
the checksums of tar, model and encoder and FIT_FORMAT are those that it was made with; they stand in the JSON
beside it, which is written last. A picture that cannot be fitted becomes a row with a reason and no fit; a
tar that is not what its manifest says, or a storage that does not answer, ends the command, for what is
written down as refused is not tried again.
"""

import functools
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from facefill.errors import UserError
from facefill.geometry.camera import WeakPerspective
from facefill.geometry.compiled import load_without_scipy
from facefill.geometry.fitting import fit_faces, fit_light
from facefill.geometry.morphable_model import MorphableModel
from facefill.geometry.reconstruction import NUM_EXPRESSION, NUM_IDENTITY, Fit, fit_from_vector, fit_to_vector
from facefill.geometry.spherical_harmonics import ambient_illumination
from facefill.geometry.uv_atlas import UVAtlas, build_atlas
from facefill.networks.encoder import Encoder
from facefill.samples import Batch, collate, decode_sample
from pipelines import jobs, storage, tables
from pipelines.fit_encoder import RunEncoder, fit_by_encoder, load_encoder
from pipelines.manifest import Manifest, load_manifest
from pipelines.rows import Row
from pipelines.run_model import RunModel, default_run_model, load_run_model
from pipelines.shard_reader import ShardReader
from pipelines.shard_rows import ShardRows, rows_by_shard
from pipelines.verify import StoredShard, require_whole

FIT_FORMAT = 4  # counts up when the same input gives another fit
AT_ONCE = {"cpu": 1, "cuda": 16}  # on a CPU more take memory and are no faster; single faces leave a GPU idle
WORST_LANDMARKS_PX = 12.0  # of 256; beyond it the points are not those of a face
LEAST_SEEN = 0.15  # of the atlas; a profile shows a third of it
LEAST_POINTS = 0.5  # of the landmarks must be numbers
BY_ENCODER = " encoder "  # before its checksum in what a table was made of
COLUMNS = {
    "key": "string",
    "fit": "list<float64>",
    "landmark_px": "float64",
    "photometric": "float64",
    "reason": "string",
}


@dataclass(frozen=True)
class FitTask:
    """One shard to fit. `shards` is the manifest of this one without rows; `rows` names the shard's own;
    `ground_truth` is empty or the model's name; `encoder` is None where landmarks and pixels are fitted.
    """

    shards: Manifest
    rows: ShardRows
    table: str
    model: RunModel
    ground_truth: str
    encoder: RunEncoder | None
    inputs: str


def fit_dataset(
    shards: str,
    folder: str,
    ground_truth: str = "",
    *,
    model: RunModel | None = None,
    encoder: RunEncoder | None = None,
    workers: int | None = None,
    on_progress: jobs.Progress | None = None,
) -> dict[str, Any]:
    """Fit all shards below URL `shards` into `folder`; what is there and valid is kept.

    ground_truth: name of the model that stored parameters belong to; where that is `model` (None: the
    default), they give shape and pose. encoder: a trained one that makes the fits instead. Returns `digest`,
    `fits`, `rejected`, the mean residuals and a `summary`.
    """
    model = model or default_run_model()
    tasks = fit_tasks(load_manifest(shards), folder, model, ground_truth, encoder)
    results = jobs.run_actors(
        shard_fitter,
        tasks,
        label="fit",
        weights=[len(task.rows) for task in tasks],
        workers=workers,
        on_progress=on_progress,
        gpu=True,
    )
    fits, landmark_px, photometric = mean_residuals(tasks)
    rejected = sum(result["rejected"] for result in results)
    digest = hashlib.sha256("".join(result["sha256"] for result in results).encode()).hexdigest()
    summary = f"{fits} fits, landmarks {landmark_px:.2f} px of 256, photometric {photometric:.3f}"
    if ground_truth and not model.owns(ground_truth):
        summary += f", stored parameters of {ground_truth} left aside for {model.name}"
    return {
        "digest": digest,
        "fits": fits,
        "rejected": rejected,
        "landmark_px": landmark_px,
        "photometric": photometric,
        "summary": summary + (f", {rejected} without a fit" if rejected else ""),
    }


def mean_residuals(tasks: Sequence[FitTask]) -> tuple[int, float, float]:
    """How many fits the tables hold, and the means of their landmark and photometric residuals."""
    count, landmark_px, photometric = 0, 0.0, 0.0
    for task in tasks:
        for row in tables.read_table(task.table, ["landmark_px", "photometric", "reason"]):
            if not row["reason"]:
                count += 1
                landmark_px += row["landmark_px"]
                photometric += row["photometric"]
    return count, landmark_px / max(count, 1), photometric / max(count, 1)


def fit_tasks(
    manifest: Manifest, folder: str, model: RunModel, ground_truth: str, encoder: RunEncoder | None = None
) -> list[FitTask]:
    """One task per tar of the set, in order."""
    taken = model.name if ground_truth and model.owns(ground_truth) else ""
    by_encoder = f"{BY_ENCODER}{encoder.sha256}" if encoder else ""
    tasks = []
    for shard, rows in rows_by_shard(manifest):
        inputs = f"{FIT_FORMAT} {shard.checksum} {model.checksum} {taken}{by_encoder}"
        table = storage.join(folder, f"{shard.url.removesuffix('.tar')}.parquet")
        of_shard = replace(manifest, rows=(), shards=(shard,), rejected=())
        tasks.append(FitTask(of_shard, rows, table, model, taken, encoder, inputs))
    return tasks


@functools.lru_cache(maxsize=2)
def geometry_of(model: RunModel, device: str = "cpu") -> tuple[MorphableModel, UVAtlas]:
    """The model and its atlas, once per process: what fits prepare is kept for these very objects."""
    load_without_scipy()
    loaded = load_run_model(model)
    return loaded.to(device), build_atlas(loaded).to(device)


def shard_fitter() -> Callable[[FitTask], dict[str, Any]]:
    """What each worker does; it loads model and encoder with its first shard."""
    return fit_shard


def device_of_worker() -> str:
    """Device `cuda` for workers with a share of a GPU that torch can use, else `cpu`."""
    return "cuda" if jobs.has_gpu() and torch.cuda.is_available() else "cpu"


def fit_shard(task: FitTask) -> dict[str, Any]:
    """Write one shard's fits unless they are there: {inputs, sha256, rejected}."""
    kept = finished_table(task)
    if kept is not None:
        return kept
    [shard] = task.shards.shards
    require_whole(StoredShard(task.shards.folder, shard, task.rows))
    reader = ShardReader()
    rows: list[dict[str, Any]] = []
    device = device_of_worker()
    with one_thread():
        model, atlas = geometry_of(task.model, device)
        encoder = load_encoder(task.encoder, device) if task.encoder else None
        samples = iter(task.rows)
        while some := list(islice(samples, AT_ONCE[device])):
            rows += fit_rows(task, some, reader, model, atlas, encoder)
            jobs.advance(len(some))
    return write_fits(task, rows)


def write_fits(task: FitTask, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Publish one shard's fits, then their record: {inputs, sha256, rejected}."""
    content = tables.rows_as_bytes(rows, COLUMNS)
    storage.write_bytes(task.table, content)
    record = {
        "inputs": task.inputs,
        "sha256": hashlib.sha256(content).hexdigest(),
        "rejected": sum(bool(row["reason"]) for row in rows),
    }
    storage.write_text(f"{task.table}.json", json.dumps(record))
    return record


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread, for tasks run side by side; in the driver (workers=0) others follow, so it is
    put back.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def finished_table(task: FitTask, *, any_encoder: bool = False) -> dict[str, Any] | None:
    """The record of the task's table if it was made from the same inputs and is still whole, else None.

    any_encoder: a table that some encoder made of the rest of the inputs is as good.
    """
    try:
        text = storage.read_text(f"{task.table}.json")
        sha256 = storage.sha256(task.table)
    except FileNotFoundError:
        return None
    try:
        record = json.loads(text)
        inputs, whole = str(record["inputs"]), record["sha256"] == sha256
    except (ValueError, KeyError, TypeError):
        return None
    if any_encoder:
        inputs = inputs.split(BY_ENCODER)[0]
    return record if whole and inputs == task.inputs else None


def fit_rows(
    task: FitTask,
    rows: Sequence[Row],
    reader: ShardReader,
    model: MorphableModel,
    atlas: UVAtlas,
    encoder: Encoder | None,
) -> list[dict[str, Any]]:
    """Fits of a few samples, in their order. Raises UserError when the tar cannot be read."""
    fields = ("image", "landmarks", "parameters")
    fitted: dict[str, dict[str, Any]] = {}
    groups: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        members = reader.members(task.shards, row, fields)  # the tar's fault is not the picture's
        try:
            sample = decode_sample(members, fields)
        except UserError as error:
            fitted[row.key] = refused(row.key, str(error))
            continue
        landmarks = sample.get("landmarks")
        if landmarks is None or np.isfinite(landmarks).all(-1).mean() < LEAST_POINTS:
            fitted[row.key] = refused(row.key, "no landmarks to fit the face by")
        else:
            groups.setdefault(len(landmarks), []).append({**sample, "key": row.key, "seed": 0})
    for kind, group in groups.items():
        fitted |= fit_group(collate(group), kind, task.ground_truth, model, atlas, encoder)
    return [fitted[row.key] for row in rows]


def fit_group(
    batch: Batch,
    kind: int,
    ground_truth: str,
    model: MorphableModel,
    atlas: UVAtlas,
    encoder: Encoder | None,
) -> dict[str, dict[str, Any]]:
    """Fits of samples with the same kind of landmarks, by key."""
    device = model.mean.device
    image = batch["image"].to(device)
    points = batch["landmarks" if kind == 68 else "five"].to(device)
    weights = points.isfinite().all(2).float()
    with torch.no_grad():
        if encoder is not None:
            fit, residuals = fit_by_encoder(image, points, weights, encoder, model, atlas)
        elif ground_truth and "parameters" in batch:
            given = fit_from_parameters(batch["parameters"].to(device), model)
            fit, residuals = fit_light(image, points, weights, given, model, atlas)
        else:
            fit, residuals = fit_faces(image, points, weights, model, atlas)
    vectors = fit_to_vector(fit).cpu()
    measured = {name: values.tolist() for name, values in residuals.items()}
    return {
        key: checked(key, vector, {name: values[place] for name, values in measured.items()})
        for place, (key, vector) in enumerate(zip(batch["key"], vectors, strict=True))
    }


def fit_from_parameters(parameters: Tensor, model: MorphableModel) -> Fit:  # (N, 234)
    """Stored ground truth (raw coefficients, then the camera) as a fit without light."""
    identity, expression, scale, euler_xyz, translation = parameters.split(
        (NUM_IDENTITY, NUM_EXPRESSION, 1, 3, 2), 1
    )
    return Fit(
        standardised(identity, model.identity_sigma),
        standardised(expression, model.expression_sigma),
        WeakPerspective(scale[:, 0], euler_xyz, translation),
        ambient_illumination(len(parameters)).to(parameters),
    )


def standardised(raw: Tensor, sigma: Tensor) -> Tensor:  # (N, K), (K,)
    """Coefficients in standard deviations; 0 for components that the model does not have (sigma 0)."""
    there = sigma > 0
    return torch.where(there, raw / torch.where(there, sigma, 1), 0)


def checked(key: str, vector: Tensor, residuals: Mapping[str, float]) -> dict[str, Any]:
    """A row with the fit, or with the reason why it is none."""
    landmark_px, seen = residuals["landmark_px"], residuals["seen"]
    turned = fit_from_vector(vector[None]).camera.euler_xyz.abs().max()
    if not bool(vector.isfinite().all()):
        return refused(key, "the fit is not finite")
    if landmark_px > WORST_LANDMARKS_PX:
        return refused(key, f"the landmarks are not those of a face: {landmark_px:.1f} px from the model's")
    if seen < LEAST_SEEN or turned > math.pi / 2:
        return refused(key, f"the face is turned away or outside: {100 * seen:.0f} % of it can be seen")
    photometric = residuals["photometric"]
    return {
        "key": key,
        "fit": vector.tolist(),
        "landmark_px": landmark_px,
        "photometric": photometric,
        "reason": "",
    }


def refused(key: str, reason: str) -> dict[str, Any]:
    """A row without a fit."""
    return {"key": key, "fit": [], "landmark_px": None, "photometric": None, "reason": reason}
