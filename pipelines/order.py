"""Which sample comes when: a pure function of the seed, the epoch, the rank and the number of ranks.

Shards are permuted, the permuted sequence is cut into equal shares for the ranks (so a rank reads few shards,
and every rank gets equally many samples), and samples are permuted inside windows of a few shards. Nothing
depends on the machine or on what was read before, so training can go on at any step.
"""

import hashlib
from collections.abc import Sequence

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
    window = max(1, WINDOW_SHARDS * len(sequence) // len(shard_sizes))
    shuffle = np.random.default_rng([seed, epoch, rank, world_size])
    pieces = [shuffle.permutation(mine[start : start + window]) for start in range(0, share, window)]
    return np.concatenate(pieces) if pieces else mine


def sample_seed(seed: int, epoch: int, key: str) -> int:
    """A seed in 0 .. 2^63 - 1 for all that is random about a sample in an epoch; the same anywhere."""
    digest = hashlib.blake2b(f"{seed} {epoch} {key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
