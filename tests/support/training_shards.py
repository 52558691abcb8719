"""A few drawn faces as the UV shards that every stage can train on, written in seconds and without Ray."""

from collections.abc import Iterator, Sequence
from functools import cache

from facefill.samples import encode_sample
from facefill.stages import Batch
from pipelines.prepared import Prepared, Slice
from pipelines.run_model import default_run_model
from pipelines.shards import write_shard_set
from tests.support.faces import make_batch

TRAINING, VALIDATION = 10, 2


@cache
def drawn() -> Batch:
    return make_batch(TRAINING + VALIDATION, seed=8)


def prepare(numbers: Sequence[int]) -> Iterator[Prepared]:
    for number in numbers:
        batch = drawn()
        sample = {"landmarks": batch["landmarks"][number].numpy(), "fit": batch["fit"][number].numpy()}
        sample["parsing"] = batch["parsing"][number].byte().numpy()
        for name in ("image", "uv_texture", "uv_albedo"):
            sample[name] = (batch[name][number] * 255).round().byte().permute(1, 2, 0).numpy()
        sample["uv_visible"] = (batch["uv_visible"][number, 0] * 255).round().byte().numpy()
        key = f"drawn/{number:03d}"
        yield Prepared(key, number, f"{key}.jpg", (1.0, 0, 0, 0, 1.0, 0), 68, encode_sample(sample))


def write_training_shards(folder: str) -> str:
    """Three shards for training and one for validation; returns the folder."""
    model = default_run_model()
    parts = [("train", range(4)), ("train", range(4, 8)), ("train", range(8, TRAINING))]
    parts.append(("validation", range(TRAINING, TRAINING + VALIDATION)))
    slices = [
        Slice(f"drawn-{split}-{number:06d}.tar", split, tuple(places))
        for number, (split, places) in enumerate(parts)
    ]
    config = {"model_name": model.name, "model": model.checksum}
    write_shard_set(folder, "drawn", slices, prepare, config=config, workers=0)
    return folder
