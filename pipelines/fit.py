"""Fit the morphable model to every picture of a shard set: one Ray task and one Parquet file per shard.

A file is kept while the tar's checksum, the model's checksum and FIT_FORMAT are those that it was made
with; they stand in the JSON beside it, which is written last. A picture that cannot be read or fitted
becomes a row with a reason and no fit; a tar that is absent or truncated, or a storage that does not answer,
ends the command, for what is written down as refused is not tried again.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from facefill.errors import UserError
from facefill.geometry.camera import WeakPerspective
from facefill.geometry.fitting import fit_faces, fit_light
from facefill.geometry.morphable_model import MorphableModel
from facefill.geometry.reconstruction import NUM_EXPRESSION, NUM_IDENTITY, Fit, fit_from_vector, fit_to_vector
from facefill.geometry.spherical_harmonics import ambient_illumination
from facefill.geometry.uv_atlas import UVAtlas, build_atlas
from facefill.samples import Batch, collate, decode_sample
from pipelines import jobs, storage, tables
from pipelines.manifest import Manifest, Row, load_manifest
from pipelines.run_model import RunModel, default_run_model, load_run_model
from pipelines.shard_reader import ShardReader

FIT_FORMAT = 2  # counts up when the same input gives another fit
AT_ONCE = 16
WORST_LANDMARKS_PX = 12.0  # of 256; beyond it the points are not those of a face
LEAST_SEEN = 0.15  # of the atlas; a profile shows a third of it
LEAST_POINTS = 0.5  # of the landmarks must be numbers
COLUMNS = {
    "key": "string",
    "fit": "list<float64>",
    "landmark_px": "float64",
    "photometric": "float64",
    "reason": "string",
}


@dataclass(frozen=True)
class FitTask:
    """One shard to fit. `shards` is its manifest without rows; `rows` are the shard's own; `ground_truth` is
    empty or the model's name.
    """

    shards: Manifest
    rows: tuple[Row, ...]
    table: str
    model: RunModel
    ground_truth: str
    inputs: str


def fit_dataset(
    shards: str,
    folder: str,
    ground_truth: str = "",
    *,
    model: RunModel | None = None,
    workers: int | None = None,
    on_progress: jobs.Progress | None = None,
) -> dict[str, Any]:
    """Fit all shards below URL `shards` into `folder`; what is there and valid is kept.

    ground_truth: name of the model that stored parameters belong to; where that is `model` (None: the
    default), they give shape and pose. Returns `digest`, `fits`, `rejected`, the mean residuals and a
    `summary`.
    """
    model = model or default_run_model()
    tasks = fit_tasks(load_manifest(shards), folder, model, ground_truth)
    results = jobs.run_tasks(fit_shard, tasks, label="fit", workers=workers, on_progress=on_progress)
    good = [
        row
        for task in tasks
        for row in tables.read_table(task.table, ["landmark_px", "photometric", "reason"])
    ]
    good = [row for row in good if not row["reason"]]
    rejected = sum(result["rejected"] for result in results)
    count = max(len(good), 1)
    landmark_px = sum(row["landmark_px"] for row in good) / count
    photometric = sum(row["photometric"] for row in good) / count
    digest = hashlib.sha256("".join(result["sha256"] for result in results).encode()).hexdigest()
    summary = f"{len(good)} fits, landmarks {landmark_px:.2f} px of 256, photometric {photometric:.3f}"
    if ground_truth and not model.owns(ground_truth):
        summary += f", stored parameters of {ground_truth} left aside for {model.name}"
    return {
        "digest": digest,
        "fits": len(good),
        "rejected": rejected,
        "landmark_px": landmark_px,
        "photometric": photometric,
        "summary": summary + (f", {rejected} without a fit" if rejected else ""),
    }


def fit_tasks(manifest: Manifest, folder: str, model: RunModel, ground_truth: str) -> list[FitTask]:
    """One task per tar of the set, in order."""
    taken = model.name if ground_truth and model.owns(ground_truth) else ""
    by_shard: dict[str, list[Row]] = {}
    for row in manifest.rows:
        by_shard.setdefault(row.shard, []).append(row)
    without_rows = replace(manifest, rows=(), shards=(), rejected=())
    tasks = []
    for shard in manifest.shards:
        inputs = f"{FIT_FORMAT} {shard.md5sum} {model.checksum} {taken}"
        table = storage.join(folder, f"{shard.url.removesuffix('.tar')}.parquet")
        tasks.append(FitTask(without_rows, tuple(by_shard[shard.url]), table, model, taken, inputs))
    return tasks


def fit_shard(task: FitTask) -> dict[str, Any]:
    """Write one shard's fits unless they are there: {inputs, sha256, rejected}."""
    beside = f"{task.table}.json"
    kept = finished_table(task.table, beside, task.inputs)
    if kept is not None:
        return kept
    reader = ShardReader()
    rows: list[dict[str, Any]] = []
    with one_thread():
        model = load_run_model(task.model)
        atlas = build_atlas(model)
        for start in range(0, len(task.rows), AT_ONCE):
            rows += fit_rows(task, task.rows[start : start + AT_ONCE], reader, model, atlas)
    tables.write_table(task.table, rows, COLUMNS)
    result = {
        "inputs": task.inputs,
        "sha256": storage.sha256(task.table),
        "rejected": sum(bool(row["reason"]) for row in rows),
    }
    storage.write_text(beside, json.dumps(result))
    return result


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


def finished_table(table: str, beside: str, inputs: str) -> dict[str, Any] | None:
    """The record of a table made from these inputs and still whole, else None."""
    try:
        record = json.loads(storage.read_bytes(beside))
        valid = record["inputs"] == inputs and storage.sha256(table) == record["sha256"]
    except (FileNotFoundError, ValueError, KeyError):
        return None
    return record if valid else None


def fit_rows(
    task: FitTask, rows: Sequence[Row], reader: ShardReader, model: MorphableModel, atlas: UVAtlas
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
        fitted |= fit_group(collate(group), kind, task.ground_truth, model, atlas)
    return [fitted[row.key] for row in rows]


def fit_group(
    batch: Batch, kind: int, ground_truth: str, model: MorphableModel, atlas: UVAtlas
) -> dict[str, dict[str, Any]]:
    """Fits of samples with the same kind of landmarks, by key."""
    points = batch["landmarks"] if kind == 68 else batch["five"]
    weights = points.isfinite().all(2).float()
    with torch.no_grad():
        if ground_truth and "parameters" in batch:
            given = fit_from_parameters(batch["parameters"], model)
            fit, residuals = fit_light(batch["image"], points, weights, given, model, atlas)
        else:
            fit, residuals = fit_faces(batch["image"], points, weights, model, atlas)
    vectors = fit_to_vector(fit)
    return {
        key: checked(key, vector, {name: float(values[place]) for name, values in residuals.items()})
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
        ambient_illumination(len(parameters)),
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
