"""Batches straight from stored bytes: pictures are decoded into their places in the batch."""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from facefill.errors import UserError
from facefill.photographs import decode_photographs_into
from facefill.samples import (
    FIELD_BY_EXTENSION,
    FIELDS,
    PICTURES,
    Array,
    Batch,
    Field,
    decode_array,
    decode_arrays,
    decode_sample,
    stack,
)

Pixels = NDArray[np.uint8]
NewBlock = Callable[[tuple[int, ...]], Pixels]


def _new_block(shape: tuple[int, ...]) -> Pixels:
    return np.empty(shape, np.uint8)


def decode_batch(
    samples: Sequence[Mapping[str, bytes]],
    keys: Sequence[str],
    seeds: Sequence[int],
    new_block: NewBlock = _new_block,
) -> Batch:
    """Members (extension -> bytes) of N samples as a packed batch (`samples.stack`; `samples.floats` ends
    it).

    new_block: gives memory of a shape for pictures to be decoded into. Raises UserError, with the sample's
    key, for a member that is no field, cannot be read, or whose picture has another size than the first.
    """
    columns: dict[str, Sequence[Array | None] | Array] = {}
    extensions = set[str]().union(*samples)
    for extension in sorted(extensions - FIELD_BY_EXTENSION.keys()):
        key = next(key for members, key in zip(samples, keys, strict=True) if extension in members)
        raise UserError(f"{key}: member .{extension}: expected one of {sorted(FIELD_BY_EXTENSION)}")
    begun: list[tuple[Field, list[bytes], Pixels]] = []
    for field in FIELDS:
        if field.extension not in extensions:
            continue
        stored = [members.get(field.extension) for members in samples]
        complete = None if None in stored else cast(list[bytes], stored)
        together = None
        if complete is not None and field.name in PICTURES:
            together = _with_first(field, complete, keys, new_block)
            begun.append((field, complete, together))
        elif complete is not None and field.decode is decode_array:
            together = decode_arrays(complete)
        if together is not None:
            columns[field.name] = together
        else:
            pairs = zip(stored, keys, strict=True)
            columns[field.name] = [None if data is None else _value(field, data, key) for data, key in pairs]
    batch = stack(keys, seeds, columns)
    # Pictures come last: they drive all else from the processor's caches, also the code of what is above.
    for field, complete, block in begun:
        names = [f"{key}: member .{field.extension}" for key in keys]
        decode_photographs_into(block[1:], complete[1:], names[1:])
    return batch


def _with_first(field: Field, stored: Sequence[bytes], keys: Sequence[str], new_block: NewBlock) -> Pixels:
    """Memory (N, H, W, 3) for the pictures, with the first one in its place."""
    first = _value(field, stored[0], keys[0])
    block = new_block((len(stored), *first.shape))
    block[0] = first
    return block


def _value(field: Field, data: bytes, key: str) -> Array:
    try:
        return decode_sample({field.extension: data})[field.name]
    except UserError as error:
        raise UserError(f"{key}: {error}") from None
