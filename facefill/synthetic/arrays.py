"""Array types of this package: numpy arrays whose shape and element type the comments state."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[Any]  # float32 unless said otherwise
Integers = NDArray[Any]  # int64
Bytes = NDArray[Any]  # uint8


def floats(values: ArrayLike) -> Floats:
    """The values as float32."""
    return np.asarray(values, np.float32)
