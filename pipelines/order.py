"""Which sample comes when: a pure function of the seed, the epoch, the rank and the number of ranks.

Shards are permuted, the permuted sequence is cut into equal shares for the ranks (so a rank reads few shards,
and every rank gets equally many samples), and samples are permuted inside windows of a few shards. Nothing
depends on the machine or on what was read before, so training can go on at any step.
"""

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

WINDOW_SHARDS = 4


def epoch_order(
    shard_sizes: Sequence[int], *, seed: int, epoch: int, rank: int, world_size: int
) -> NDArray[np.int64]:
    """The places (in stored order over all shards) of the samples that a rank sees in an epoch, in their
    order.

    Every rank gets total // world_size; the remainder, another one in each epoch, is left out.
    """
    generator = np.random.default_rng([seed, epoch])
    starts = np.concatenate([[0], np.cumsum(shard_sizes)])
    shards = generator.permutation(len(shard_sizes))
    sequence = np.concatenate([np.arange(starts[shard], starts[shard + 1]) for shard in shards])
    share = len(sequence) // world_size
    mine = sequence[rank * share : (rank + 1) * share]
    window = window_of(shard_sizes)
    shuffle = np.random.default_rng([seed, epoch, rank, world_size])
    pieces = [shuffle.permutation(mine[start : start + window]) for start in range(0, share, window)]
    return np.concatenate(pieces) if pieces else mine


def window_of(shard_sizes: Sequence[int]) -> int:
    """How many samples are mixed with each other: as many as a few shards hold."""
    return max(1, WINDOW_SHARDS * sum(shard_sizes) // len(shard_sizes))


def evaluation_order(
    total: int, batch_size: int, *, rank: int, world_size: int
) -> Iterator[NDArray[np.int64]]:
    """The places of the samples in each of a rank's batches of an evaluation: each of `total` once over all
    ranks.

    The first k batches of all ranks are the first k x batch_size x world_size samples. Every rank gets
    equally many batches, so ranks that wait for each other in every batch do not wait for ever: one with a
    sample less than others keeps the last of its own for the last batch. Only where a rank has fewer samples
    than batches, because there are fewer samples than ranks or batches of one, has it fewer batches.
    """
    mine = np.arange(rank, total, world_size)
    batches = -(-total // (world_size * batch_size))
    starts = np.minimum(np.arange(batches) * batch_size, max(len(mine) - 1, 0))
    pieces = np.split(mine, starts[1:])
    return (piece for piece in pieces if len(piece))


def sample_seed(seed: int, epoch: int, key: str) -> int:
    """A seed in 0 .. 2^63 - 1 for all that is random about a sample in an epoch; the same anywhere."""
    digest = hashlib.blake2b(f"{seed} {epoch} {key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
