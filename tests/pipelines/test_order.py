"""The order of training samples: complete, equal, reproducible, local."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.order import epoch_order, evaluation_order, sample_seed

SIZES = [10, 10, 10, 10, 10, 10, 7]


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_ranks_share_all_samples_without_overlap(world_size):
    orders = [
        epoch_order(SIZES, seed=1, epoch=0, rank=rank, world_size=world_size) for rank in range(world_size)
    ]
    assert {len(order) for order in orders} == {67 // world_size}
    together = np.concatenate(orders)
    assert len(set(together.tolist())) == len(together) >= 67 - world_size + 1
    assert together.min() >= 0 and together.max() < 67


def test_a_function_of_seed_and_epoch_alone():
    def order(seed: int, epoch: int) -> list[int]:
        return epoch_order(SIZES, seed=seed, epoch=epoch, rank=1, world_size=2).tolist()

    assert order(3, 4) == order(3, 4)
    assert order(3, 4) != order(3, 5) and order(3, 4) != order(4, 4)


def test_the_order_of_a_seed_never_changes():
    """Known values: another order would break runs that go on from a checkpoint."""
    orders = [epoch_order([2, 3, 2, 1], seed=1, epoch=2, rank=rank, world_size=2).tolist() for rank in (0, 1)]
    assert orders == [[4, 2, 3, 7], [5, 6, 0, 1]]


def test_shards_are_permuted_so_that_windows_and_the_remainder_change_with_the_epoch():
    sizes = [3] * 9
    first_windows, left_out = set(), set()
    for epoch in range(10):
        ranks = [epoch_order(sizes, seed=4, epoch=epoch, rank=rank, world_size=2) for rank in (0, 1)]
        first_windows.add(frozenset((ranks[0][:12] // 3).tolist()))
        left_out |= set(range(27)) - set(np.concatenate(ranks).tolist())
    assert len(first_windows) >= 9
    assert len(left_out) >= 5


def test_samples_are_mixed_but_a_window_touches_few_shards():
    sizes = [100] * 40
    order = epoch_order(sizes, seed=0, epoch=0, rank=0, world_size=1)
    assert len(set((order[:100] // 100).tolist())) == 4
    assert (np.diff(order[:400]) == 1).mean() < 0.05


def test_fewer_samples_than_ranks_gives_none():
    assert len(epoch_order([2], seed=0, epoch=0, rank=2, world_size=3)) == 0


def test_sample_seeds_are_stable_and_differ():
    assert sample_seed(1, 2, "celeba/000001") == 1913694645832292033
    seeds = {sample_seed(seed, epoch, key) for seed in range(3) for epoch in range(3) for key in ("a", "b")}
    assert len(seeds) == 18 and all(0 <= seed < 2**63 for seed in seeds)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=12), st.integers(1, 9), st.integers(0, 99))
def test_any_sizes_and_ranks_give_equal_shares_without_overlap(sizes, world_size, epoch):
    total = sum(sizes)
    orders = [
        epoch_order(sizes, seed=5, epoch=epoch, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    together = np.concatenate(orders)
    assert {len(order) for order in orders} == {total // world_size}
    assert len(np.unique(together)) == len(together) and set(together) <= set(range(total))


@given(st.integers(1, 300), st.integers(1, 20), st.integers(1, 12))
def test_an_evaluation_has_each_sample_once_and_ranks_keep_step(total, batch_size, world_size):
    ranks = [
        list(evaluation_order(total, batch_size, rank=rank, world_size=world_size))
        for rank in range(world_size)
    ]
    together = np.concatenate([places for batches in ranks for places in batches])
    assert sorted(together.tolist()) == list(range(total))
    assert all(1 <= len(places) <= batch_size for batches in ranks for places in batches)
    assert len(ranks[0]) == -(-total // (world_size * batch_size))
    if total % world_size == 0 or (batch_size > 1 and total >= world_size):
        assert len({len(batches) for batches in ranks}) == 1


def test_the_first_batches_of_an_evaluation_do_not_depend_on_the_ranks():
    for world_size in (1, 2, 4):
        ranks = [
            list(evaluation_order(50, 8 // world_size, rank=rank, world_size=world_size))
            for rank in range(world_size)
        ]
        first = np.concatenate([places for batches in ranks for places in batches[:3]])
        assert sorted(first.tolist()) == list(range(24))
