"""Memory for the pictures of batches that is used again once a batch is gone.

Fresh memory of this size has to be zeroed by the kernel every time, which takes a tenth of what decoding
into it takes.
"""

import ctypes
import math
import weakref
from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

KEPT = 8  # free blocks of a size


class BlockPool:
    """Blocks of bytes, taken by any thread; a block is free when its array and all views of it are gone."""

    def __init__(self) -> None:
        self._free: defaultdict[int, list[NDArray[np.uint8]]] = defaultdict(list)

    def array(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """An array of undefined content."""
        size = math.prod(shape)
        free = self._free[size]
        try:
            memory: Any = free.pop()
        except IndexError:
            memory = np.empty(size, np.uint8)
        # numpy would make views of an array on `memory` itself refer to `memory` and let go of the array.
        buffer: Any = (ctypes.c_uint8 * size).from_buffer(memory)
        array = np.ndarray(shape, np.uint8, buffer)
        weakref.finalize(array, _give_back, free, memory).atexit = False
        return array


def _give_back(free: list[NDArray[np.uint8]], memory: NDArray[np.uint8]) -> None:
    if len(free) < KEPT:
        free.append(memory)
