"""Batches straight from stored bytes: pictures are decoded into their places in the batch."""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from facefill.errors import UserError
from facefill.photographs import decode_photographs_into, photograph_shape
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
    undecoded: list[tuple[Pixels, list[bytes], list[str]]] = []
    for field in FIELDS:
        if field.extension not in extensions:
            continue
        stored = [members.get(field.extension) for members in samples]
        complete = None if None in stored else cast(list[bytes], stored)
        together = None
        if complete is not None and field.name in PICTURES:
            shape = photograph_shape(complete[0], _name(keys[0], field))
            try:
                together = new_block((len(complete), *shape))
            except MemoryError:
                raise UserError(
                    f"{_name(keys[0], field)}: a batch of pictures of {shape[1]} x {shape[0]} does not fit "
                    "into memory; is the picture damaged?"
                ) from None
            undecoded.append((together, complete, [_name(key, field) for key in keys]))
        elif complete is not None and field.decode is decode_array:
            together = decode_arrays(complete)
        if together is not None:
            columns[field.name] = together
        else:
            pairs = zip(stored, keys, strict=True)
            columns[field.name] = [None if data is None else _value(field, data, key) for data, key in pairs]
    batch = stack(keys, seeds, columns)
    # Pictures come last: each drives all else from the processor's caches, the code above among it.
    for block, complete, names in undecoded:
        decode_photographs_into(block, complete, names)
    return batch


def _name(key: str, field: Field) -> str:
    return f"{key}: member .{field.extension}"


def _value(field: Field, data: bytes, key: str) -> Array:
    try:
        return decode_sample({field.extension: data})[field.name]
    except UserError as error:
        raise UserError(f"{key}: {error}") from None
