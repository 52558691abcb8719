"""From a row per picture to tables: means per method and mask-ratio bucket, intervals, paired differences.

Intervals are 95 % percentile bootstraps over the pictures, drawn from a fixed seed.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
Row = dict[str, Any]


def summarize(rows: Sequence[Row], metrics: Sequence[str]) -> list[Row]:
    """Means of the metrics per method, over all pictures (bucket None) and per bucket; None if unmeasured."""
    methods = unique(row["method"] for row in rows)
    buckets = [None, *sorted({row["bucket"] for row in rows})]
    table = []
    for bucket in buckets:
        for method in methods:
            chosen = [r for r in rows if r["method"] == method and bucket in (None, r["bucket"])]
            means = {metric: mean(column(chosen, metric)) for metric in metrics}
            table.append({"method": method, "bucket": bucket, "pictures": len(chosen)} | means)
    return table


def paired_differences(rows: Sequence[Row], method: str, metrics: Sequence[str]) -> list[Row]:
    """`method` less each other method on the same pictures: mean, 95 % interval, share of pictures it wins.

    For a metric that starts with `lpips` smaller is better, for the others larger.
    """
    differences = []
    for other in unique(row["method"] for row in rows):
        if other == method:
            continue
        for metric in metrics:
            ours, theirs = by_position(rows, method, metric), by_position(rows, other, metric)
            both = sorted(ours.keys() & theirs.keys())
            values = np.array([ours[position] - theirs[position] for position in both])
            if len(values) == 0:
                continue
            low, high = interval(values)
            wins = values < 0 if metric.startswith("lpips") else values > 0
            differences.append(
                {
                    "other": other,
                    "metric": metric,
                    "pictures": len(values),
                    "mean": float(values.mean()),
                    "low": low,
                    "high": high,
                    "wins": float(wins.mean()),
                }
            )
    return differences


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """95 % bootstrap interval of the mean."""
    chosen = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.percentile(values[chosen].mean(axis=1), (2.5, 97.5))
    return float(low), float(high)


def column(rows: Sequence[Row], metric: str) -> NDArray[np.float64]:
    """The measured values of a metric, in the rows' order."""
    values = np.array([np.nan if row[metric] is None else row[metric] for row in rows], np.float64)
    return values[np.isfinite(values)]


def by_position(rows: Sequence[Row], method: str, metric: str) -> dict[int, float]:
    """Measured value of each picture."""
    chosen = [row for row in rows if row["method"] == method and row[metric] is not None]
    return {row["position"]: row[metric] for row in chosen if np.isfinite(row[metric])}


def mean(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if len(values) else None


def unique(names: Any) -> list[str]:
    """Each name once, in the order of first sight."""
    return list(dict.fromkeys(names))
