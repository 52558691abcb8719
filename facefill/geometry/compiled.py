"""When and how geometry runs as compiled loops: on the CPU, in float32, where numba is there.

Every compiled loop has a twin in plain torch, which runs everywhere else and which the tests hold it
against. Loops that are not part of an autograd function run only where nobody asks for gradients.
"""

import functools
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

SCIPY_BLAS = "scipy.linalg.cython_blas"


@functools.cache
def numba_is_importable() -> bool:
    """Whether loops can be compiled on this machine."""
    return importlib.util.find_spec("numba") is not None


def may_run_loops(*tensors: Tensor) -> bool:
    """Whether compiled loops can take these tensors."""
    usable = all(tensor.device.type == "cpu" and tensor.dtype == torch.float32 for tensor in tensors)
    return usable and numba_is_importable()


def may_run_compiled(*tensors: Tensor) -> bool:
    """Whether compiled loops can take these tensors and nobody will ask for their gradients."""
    wants_gradient = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    return may_run_loops(*tensors) and not wants_gradient


@functools.cache
def compiled(loop: Callable[..., None]) -> Callable[..., None]:
    """The function as machine code that holds no interpreter lock; compiling takes seconds, once a machine.

    Division by zero gives what it gives in numpy: a loop that may raise in its middle cannot run on several
    numbers at once, which halves the z-buffer's speed. Nothing else is relaxed: no sum is reordered. What is
    compiled is kept until the loop's own file changes, so constants of other files go in as arguments.
    """
    import numba

    return numba.njit(nogil=True, cache=True, error_model="numpy")(loop)


def load_without_scipy() -> None:
    """Load numba now, for worker processes: by itself it looks for scipy's BLAS, which no loop here calls and
    which takes 14 MB with all that comes with it.

    Sums of products in other people's compiled code that use it find it later by themselves. No other thread
    may be importing scipy meanwhile.
    """
    if not numba_is_importable() or SCIPY_BLAS in sys.modules:
        return
    sys.modules[SCIPY_BLAS] = None  # type: ignore[assignment]  # how Python marks what cannot be imported
    try:
        importlib.import_module("numba.np.arraymath")
    finally:
        del sys.modules[SCIPY_BLAS]


def run_each(loop: Callable[..., None], count: int, *arguments: Any) -> None:
    """Call compiled `loop` for each of `count` images, in as many threads as torch has.

    A list among the arguments holds one value per image, everything else goes to all.
    """
    kernel = compiled(loop)
    for_images(
        lambda image: kernel(*(value[image] if isinstance(value, list) else value for value in arguments)),
        count,
    )


def for_images(work: Callable[[int], None], count: int) -> None:
    """Call `work(image)` for each of `count` images, in as many threads as torch has."""
    threads = min(count, torch.get_num_threads())

    def part(first: int) -> None:
        for image in range(first, count, threads):
            work(image)

    others = [helpers(threads - 1).submit(part, first) for first in range(1, threads)]
    if count:
        part(0)
    for other in others:
        other.result()


@functools.cache
def helpers(count: int) -> ThreadPoolExecutor:
    """Threads beside the caller's, kept: to start them takes as long as many a loop."""
    return ThreadPoolExecutor(count, thread_name_prefix="images")


os.register_at_fork(after_in_child=helpers.cache_clear)  # threads do not survive it


def images_of(tensor: Tensor) -> list[Any]:
    """The arrays of a batch, one per image; a contiguous batch shares its memory with them."""
    return list(tensor.detach().contiguous().numpy())
