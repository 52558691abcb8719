"""A contact sheet of a dataset's fits: sixteen faces, evenly spread, as `fits/{dataset}.jpg`.

It is drawn anew whenever the fit step runs; nothing else depends on it.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate, groupby
from typing import Any

import torch

from facefill.fit_pictures import Tiles, fit_sheet, fit_tiles
from facefill.geometry.fitting import skin_albedo
from facefill.geometry.photometric import light_and_skin
from facefill.geometry.reconstruction import fit_from_vector
from facefill.geometry.uv_atlas import build_atlas
from facefill.samples import collate, decode_sample
from pipelines import jobs, storage, tables
from pipelines.contact_sheet import encoded
from pipelines.fit import FitTask, fit_tasks, one_thread
from pipelines.manifest import load_manifest
from pipelines.run_model import RunModel, load_run_model
from pipelines.shard_reader import ShardReader

SHOWN = 16


def write_fit_sheet(shards: str, fits: str, model: RunModel, *, workers: int | None = None) -> str | None:
    """Draw fits below URL `fits` of the shard set `shards`; its URL, or None where no fit succeeded."""
    shown = shown_fits(fit_tasks(load_manifest(shards), fits, model, ""))
    if not shown:
        return None
    drawn = jobs.run_tasks(draw_fits, shown, label="fit sheet", workers=workers)
    url = f"{fits}.jpg"
    storage.write_bytes(url, encoded(fit_sheet([row for part in drawn for row in part]), "JPEG"))
    return url


def shown_fits(tasks: Sequence[FitTask]) -> list[tuple[FitTask, tuple[str, ...]]]:
    """Up to SHOWN of the faces that were fitted, evenly spread over the whole set: the tasks of their shards
    with their keys.
    """
    ends = list(accumulate(len(fitted_keys(task)) for task in tasks))
    total = ends[-1] if ends else 0
    count = min(SHOWN, total)
    places = (place * (total - 1) // max(count - 1, 1) for place in range(count))
    shown = []
    for number, same in groupby(places, key=lambda place: bisect_right(ends, place)):
        keys = fitted_keys(tasks[number])
        shown.append((tasks[number], tuple(keys[place - ends[number]] for place in same)))  # from the end
    return shown


def fitted_keys(task: FitTask) -> list[str]:
    """The samples of a shard that have a fit, in order."""
    return [row["key"] for row in tables.read_table(task.table, ["key", "reason"]) if not row["reason"]]


def draw_fits(shown: tuple[FitTask, tuple[str, ...]]) -> list[tuple[str, Tiles]]:
    """A label and the tiles of every face shown of one shard."""
    task, keys = shown
    reader = ShardReader()
    fits = {row["key"]: row for row in tables.read_table(task.table)}
    drawn = []
    with one_thread():
        model = load_run_model(task.model)
        atlas = build_atlas(model)
        for row in task.rows:
            if row.key not in keys:
                continue
            fields = ("image", "landmarks")
            sample = decode_sample(reader.members(task.shards, row, fields), fields)
            batch = collate([{**sample, "key": row.key, "seed": 0}])
            points = batch["landmarks"] if row.landmarks == 68 else batch["five"]
            fit = fit_from_vector(torch.tensor([fits[row.key]["fit"]], dtype=torch.float32))
            _, skin = light_and_skin(batch["image"], fit, model, atlas)  # no fit stores its skin
            [tiles] = fit_tiles(batch["image"], points, fit, model, atlas, skin_albedo(model, skin))
            drawn.append((label_of(fits[row.key]), tiles))
    return drawn


def label_of(fit: Mapping[str, Any]) -> str:
    """Key and residuals of a fit."""
    return f"{fit['key']}   landmarks {fit['landmark_px']:.2f} px   photometric {fit['photometric']:.3f}"
