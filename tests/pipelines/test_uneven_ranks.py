"""Ranks that wait for each other in every batch of an evaluation, with samples that do not divide evenly."""

import multiprocessing
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta

import numpy as np
import pytest
import torch
import torch.distributed

from facefill.samples import encode_sample
from pipelines.loader import Loader
from pipelines.manifest import load_manifest
from pipelines.prepared import Prepared, Slice
from pipelines.shards import write_shard_set
from pipelines.train_ranks import Means, Place

SAMPLES, WORLD_SIZE, BATCH = 7, 3, 2


def prepare(numbers: Sequence[int]) -> Iterator[Prepared]:
    for number in numbers:
        members = encode_sample({"landmarks": np.full((68, 2), number)})
        yield Prepared(f"n/{number}", number, str(number), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), 68, members)


def evaluate_in_step(folder: str, meeting: str, rank: int, results) -> None:
    """What a stage whose forward pass synchronizes does: one exchange in every batch, then means over all."""
    torch.distributed.init_process_group("gloo", f"file://{meeting}", timedelta(seconds=40), WORLD_SIZE, rank)
    loader = Loader([load_manifest(folder)], BATCH, seed=1, split="train", rank=rank, world_size=WORLD_SIZE)
    place = Place(rank, WORLD_SIZE, torch.device("cpu"))
    means, keys = Means(place), []
    for batch in loader.evaluation_batches():
        torch.distributed.all_reduce(torch.ones(1))
        keys += batch["key"]
        means.add({"number": batch["landmarks"].mean()}, weight=len(batch["key"]))
    results.put((keys, means.take()["number"]))
    torch.distributed.destroy_process_group()


def test_nobody_hangs_and_every_sample_counts_once(tmp_path):
    write_shard_set(
        *(str(tmp_path / "set"), "n", [Slice("n-train-000000.tar", "train", tuple(range(SAMPLES)))], prepare),
        config={},
        workers=0,
    )
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    given = str(tmp_path / "set"), str(tmp_path / "meeting")
    processes = [
        context.Process(target=evaluate_in_step, args=(*given, rank, results)) for rank in range(WORLD_SIZE)
    ]
    for process in processes:
        process.start()
    found = [results.get(timeout=100) for _ in processes]
    for process in processes:
        process.join(20)
        assert process.exitcode == 0
    assert Counter(key for keys, _ in found for key in keys) == {f"n/{n}": 1 for n in range(SAMPLES)}
    assert [mean for _, mean in found] == pytest.approx([3.0] * WORLD_SIZE)
