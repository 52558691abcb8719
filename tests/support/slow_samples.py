"""Shards of made-up bytes that take their time and say where they are at work, to be disturbed."""

import os
import random
import signal
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from pipelines.prepared import Prepared, Slice
from pipelines.shards import write_shard_set

PER_SHARD = 4
SAMPLE_BYTES = 30_000


def prepare(diary: str, pause: float, numbers: Sequence[int]) -> Iterator[Prepared]:
    """Samples with a pause before each; diary/{first number}-{process}-{node} appears with the second."""
    for place, number in enumerate(numbers):
        time.sleep(pause)
        if place == 1:
            Path(diary, f"{numbers[0]:03d}-{os.getpid()}-{node()}").touch()
        content = random.Random(number).randbytes(SAMPLE_BYTES)
        yield Prepared(
            f"made/{number:03d}", 0, f"{number}.jpg", (1.0, 0, 0, 0, 1.0, 0), 0, {"image.jpg": content}
        )


def prepare_and_die(numbers: Sequence[int]) -> Iterator[Prepared]:
    """What kills its process each time, as a picture that needs more memory than there is."""
    os.kill(os.getpid(), signal.SIGKILL)
    yield from prepare("", 0, numbers)


def node() -> str:
    """The Ray node's name, "here" outside."""
    import ray

    return ray.get_runtime_context().get_node_id() if ray.is_initialized() else "here"


def write(folder: str, diary: str, *, pause: float = 0, workers: int | None = 0, shards: int = 6) -> None:
    """The set of `shards` tars in `folder`; its bytes depend on their number alone."""
    Path(diary).mkdir(exist_ok=True)
    write_shard_set(
        folder, "made", slices(shards), partial(prepare, diary, pause), config={}, workers=workers
    )


def slices(shards: int) -> list[Slice]:
    """The numbers of the samples of each tar."""
    return [
        Slice(
            f"made-train-{shard:06d}.tar", "train", tuple(range(shard * PER_SHARD, (shard + 1) * PER_SHARD))
        )
        for shard in range(shards)
    ]
