"""Memory comes back when nobody can see it any more, and not before."""

import gc

import numpy as np
import torch

from pipelines.block_pool import KEPT, BlockPool


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def test_a_block_is_used_again_once_it_is_gone():
    pool = BlockPool()
    array = pool.array((4, 8, 8, 3))
    first = address(array)
    assert array.shape == (4, 8, 8, 3) and array.dtype == np.uint8
    assert address(pool.array((4, 8, 8, 3))) != first
    del array
    gc.collect()
    again = [pool.array((8, 4, 8, 3)), pool.array((4, 8, 8, 3))]
    assert first in [address(array) for array in again]


def test_views_keep_a_block():
    pool = BlockPool()
    array = pool.array((4, 100))
    array[:] = 7
    tensor = torch.from_numpy(array).view(2, 200)[1]
    part = array[2:3, 5:]
    del array
    gc.collect()
    for _ in range(3):
        pool.array((4, 100))[:] = 9
    assert (tensor == 7).all() and (part == 7).all()
    del tensor
    gc.collect()
    pool.array((4, 100))[:] = 9
    assert (part == 7).all()


def test_only_some_free_blocks_are_kept():
    pool = BlockPool()
    many = [pool.array((10,)) for _ in range(3 * KEPT)]
    del many
    gc.collect()
    assert len(pool._free[10]) == KEPT
