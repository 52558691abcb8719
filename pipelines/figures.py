"""Curves for the report, as PNG files in memory."""

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {
    "mean colour": "#9aa0a6",
    "mean albedo": "#b48ead",
    "mirror": "#d98c3f",
    "Telea": "#3f9c74",
    "ours, encoder's fit as it is": "#c3d5f5",
    "ours, iteration 1": "#8fb3ee",
    "ours": "#1f4fbf",
}
AXIS_LABELS = {
    "psnr": "PSNR, dB (larger is better)",
    "ssim": "SSIM (larger is better)",
    "lpips": "LPIPS (smaller is better)",
}
INK, FAINT = "#1c2330", "#d9dde5"
RESOLUTION = 130


def bucket_curves(summary: Sequence[dict[str, Any]], region: str) -> bytes | None:
    """PSNR, SSIM and LPIPS of one region over the mask ratio, one line per method; None without buckets."""
    rows = [row for row in summary if row["bucket"] is not None]
    metrics = [name for name in AXIS_LABELS if any(row[f"{name}_{region}"] is not None for row in rows)]
    if not metrics:
        return None
    figure = empty_figure(4.1 * len(metrics), 3.2)
    for number, metric in enumerate(metrics, 1):
        axes = figure.add_subplot(1, len(metrics), number)
        for method in dict.fromkeys(row["method"] for row in rows):
            points = [
                (10 * row["bucket"] + 5, row[f"{metric}_{region}"])
                for row in rows
                if row["method"] == method and row[f"{metric}_{region}"] is not None
            ]
            axes.plot(
                *zip(*points, strict=True),
                label=method,
                color=COLOURS.get(method),
                linewidth=2.2 if method == "ours" else 1.5,
                marker="o",
                markersize=3.5,
            )
        axes.set_xlim(0, 100)
        axes.set_xlabel("hidden share of the face, %")
        clean(axes, AXIS_LABELS[metric])
        if number == 1:
            axes.legend(frameon=False, fontsize=8)
    return png(figure)


def training_curves(lines: Sequence[dict[str, Any]]) -> bytes | None:
    """Every metric of a stage over its steps (metrics.jsonl), a small plot each; None if there is none."""
    series = metric_series(lines)
    if not series:
        return None
    columns = 4
    rows = math.ceil(len(series) / columns)
    figure = empty_figure(12.3, 2.1 * rows)
    for number, (name, points) in enumerate(sorted(series.items(), key=in_order), 1):
        axes = figure.add_subplot(rows, columns, number)
        steps, values = np.array(points).T
        colour = COLOURS["ours"] if name.startswith("metric/") else INK
        axes.plot(steps, values, color=colour, linewidth=0.6 if len(values) > 60 else 1.2, alpha=0.4)
        marker = "o" if len(values) < 20 else None  # a single value would not be seen
        axes.plot(steps, smooth(values), color=colour, linewidth=1.6, marker=marker, markersize=3)
        clean(axes, name)
    return png(figure)


def metric_series(lines: Sequence[dict[str, Any]]) -> dict[str, list[tuple[int, float]]]:
    """(step, value) of each `loss/…` and `metric/…`; values that were not finite are left out."""
    series: dict[str, list[tuple[int, float]]] = {}
    for line in lines:
        for name, value in line.items():
            if not name.startswith(("loss/", "metric/")) or value is None:
                continue
            if math.isfinite(value):
                series.setdefault(name, []).append((line["step"], value))
    return series


def in_order(item: tuple[str, Any]) -> tuple[bool, str]:
    """Losses first, then metrics."""
    return item[0].startswith("metric/"), item[0]


def smooth(values: np.ndarray) -> np.ndarray:
    """Running mean over a twentieth of the curve, shorter at its ends."""
    half = max(1, len(values) // 40)
    sums = np.concatenate(([0.0], np.cumsum(values)))
    starts = np.maximum(np.arange(len(values)) - half, 0)
    ends = np.minimum(np.arange(len(values)) + half + 1, len(values))
    return (sums[ends] - sums[starts]) / (ends - starts)


def empty_figure(width: float, height: float) -> "Figure":
    """Width and height in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=RESOLUTION, layout="constrained")


def clean(axes: "Axes", title: str) -> None:
    """Few lines, small letters."""
    axes.set_title(title, loc="left", fontsize=9, color=INK)
    axes.xaxis.label.set_fontsize(8)
    axes.tick_params(labelsize=8, length=0, colors="#5a6375")
    axes.grid(color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(FAINT)


def png(figure: "Figure") -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()
