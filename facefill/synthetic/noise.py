"""Random fields with a power-law spectrum: mottled skin, cloth, out-of-focus walls.

One periodic tile per exponent is made once per process; a caller takes a random window of it, so a field
costs a copy.
"""

from functools import cache

import numpy as np

from facefill.synthetic.arrays import Floats

TILE = 1024


@cache
def tile(exponent: float) -> Floats:
    """(TILE, TILE) periodic noise, mean 0, standard deviation 1, amplitude ~ frequency ** -exponent."""
    generator = np.random.default_rng([20, round(exponent * 1000)])
    frequency = np.hypot(np.fft.fftfreq(TILE)[:, None], np.fft.rfftfreq(TILE)[None])
    frequency[0, 0] = np.inf
    white = np.fft.rfft2(generator.standard_normal((TILE, TILE)))
    field = np.fft.irfft2(white * frequency**-exponent, (TILE, TILE))
    return (field / field.std()).astype(np.float32)


def window(
    generator: np.random.Generator, height: int, width: int, exponent: float, zoom: float = 1.0
) -> Floats:
    """(height, width) random part of the tile, enlarged `zoom` times (below 1 the tile repeats)."""
    import cv2

    rows, columns = max(2, round(height / zoom)), max(2, round(width / zoom))
    top, left = (int(start) for start in generator.integers(0, TILE, 2))
    part = np.take(tile(exponent), np.arange(top, top + rows), axis=0, mode="wrap")
    part = np.take(part, np.arange(left, left + columns), axis=1, mode="wrap")
    if (rows, columns) == (height, width):
        return part
    return cv2.resize(part, (width, height), interpolation=cv2.INTER_CUBIC if zoom > 1 else cv2.INTER_AREA)


def smooth_step(low: float, high: float, value: Floats) -> Floats:
    """0 below `low`, 1 above `high`, smooth between."""
    part = np.clip((value - low) / (high - low), 0, 1)
    return part * part * (3 - 2 * part)
