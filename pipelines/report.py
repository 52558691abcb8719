"""The evaluation's results: metrics.parquet, summary.json, contact sheets, and one HTML page with all of it.

The page holds its pictures and curves inside itself and asks nothing of the network.
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facefill.metrics.perceptual import NO_BACKBONE
from pipelines import published, storage
from pipelines.contact_sheet import contact_sheet, encoded
from pipelines.evaluate import METRICS, OURS, REGIONS, Evaluation, Row
from pipelines.figures import bucket_curves, training_curves
from pipelines.statistics import paired_differences, summarize
from pipelines.tables import write_table

TEMPLATE = Path(__file__).parent / "templates" / "report.html"
COLUMNS = tuple(f"{metric}_{region}" for region in REGIONS for metric in METRICS)
ROW_COLUMNS = {
    "key": "string",
    "position": "int64",
    "bucket": "int64",
    "ratio": "float64",
    "method": "string",
    **dict.fromkeys(COLUMNS, "float64"),
    "seconds": "float64",
}
FACES_PER_SHEET = 10
CONVENTIONS = (
    "Holes: one rectangle per picture, cut to the face, drawn from (seed, position); picture i gets a mask "
    "ratio of decile i mod 10. Mask ratio = area(hole ∩ face) / area(face).",
    "Images: the centre 224×224 of the aligned 256×256 face, RGB, rounded to 8 bits before measuring.",
    "Regions: image = the whole crop, untouched pixels included; face = visible face and hole; hole alone.",
    "PSNR: range fixed to [0, 1], all channels, per picture, then the mean; at most 100 dB.",
    "SSIM: Gaussian window 11, σ 1.5, valid area, per channel, range 1; a region's value is the mean of the "
    "SSIM map over its pixels.",
    "LPIPS: AlexNet, version 0.1, input in [-1, 1]; a region's value is the mean of the enlarged distance "
    "maps over its pixels.",
    "Mirror fill takes its axis from landmarks of the whole picture's fit, which no other method sees.",
    "Intervals: 95 % bootstrap over pictures; differences are paired by picture.",
)


@dataclass(frozen=True, kw_only=True)
class ReportPage:
    """What the page tells, as plain data.

    data: what the networks were trained on and what was held back, a row per data set. curves: stage to the
    lines of its metrics.jsonl. sweep: a row per trial. provenance: name to value (digests, versions, times).
    """

    title: str
    subtitle: str
    evaluation: Evaluation
    seed: int
    data: Sequence[dict[str, Any]] = ()
    curves: dict[str, Sequence[dict[str, Any]]] = field(default_factory=dict)
    sweep: Sequence[dict[str, Any]] = ()
    provenance: dict[str, str] = field(default_factory=dict)
    config: str = ""


def write_report(folder: str, page: ReportPage) -> str:
    """Write metrics.parquet, summary.json, sheets/*.png and report.html (last); returns the page's URL."""
    evaluation = page.evaluation
    write_table(storage.join(folder, "metrics.parquet"), evaluation.rows, ROW_COLUMNS)
    storage.write_text(storage.join(folder, "summary.json"), json.dumps(summary_of(page), indent=1))
    for name, faces in (("by_ratio", evaluation.shown), ("worst", evaluation.worst)):
        for start in range(0, len(faces), FACES_PER_SHEET):
            sheet = encoded(contact_sheet(faces[start : start + FACES_PER_SHEET]), "PNG")
            number = start // FACES_PER_SHEET
            storage.write_bytes(storage.join(folder, "sheets", f"{name}_{number:02d}.png"), sheet)
    url = storage.join(folder, "report.html")
    storage.write_text(url, report_html(page))
    return url


def summary_of(page: ReportPage) -> dict[str, Any]:
    """The tables of the page as plain data."""
    rows = page.evaluation.rows
    return {
        "title": page.title,
        "pictures": len({row["position"] for row in rows}),
        "seed": page.seed,
        "skipped": [{"key": key, "reason": reason} for key, reason in page.evaluation.skipped],
        "conventions": CONVENTIONS,
        "lpips": "computed" if lpips_computed(rows) else NO_BACKBONE,
        "summary": summarize(rows, (*COLUMNS, "seconds")),
        "paired_differences": paired_differences(rows, OURS, [f"{metric}_hole" for metric in METRICS]),
    }


def report_html(page: ReportPage) -> str:
    """The whole page."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["png"] = png_address
    environment.filters["jpeg"] = jpeg_address
    environment.filters["number"] = shown_number
    summary = summary_of(page)
    overall = [row for row in summary["summary"] if row["bucket"] is None]
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        page=page,
        summary=summary,
        overall=overall,
        best=best_values(overall),
        headlines=headlines(overall),
        differences=by_other(summary["paired_differences"]),
        buckets=[row for row in summary["summary"] if row["bucket"] is not None],
        metrics=METRICS,
        regions=REGIONS,
        ours=OURS,
        bucket_figures=figures_by_region(summary["summary"]),
        training_figures={stage: training_curves(lines) for stage, lines in page.curves.items()},
        published=published,
    )


def figures_by_region(summary: Sequence[Row]) -> dict[str, bytes]:
    """Curves of the hole and of the whole image."""
    drawn = {region: bucket_curves(summary, region) for region in ("hole", "image")}
    return {region: figure for region, figure in drawn.items() if figure is not None}


def headlines(overall: Sequence[Row]) -> list[dict[str, Any]]:
    """Ours beside the best fill without learning, for each metric of the hole."""
    cards = []
    for metric in METRICS:
        name = f"{metric}_hole"
        ours = [row[name] for row in overall if row["method"] == OURS and row[name] is not None]
        others = [
            (row[name], row["method"])
            for row in overall
            if not row["method"].startswith(OURS) and row[name] is not None
        ]
        if ours and others:
            value, method = min(others) if metric == "lpips" else max(others)
            cards.append({"metric": metric, "ours": ours[0], "other": value, "method": method})
    return cards


def by_other(differences: Sequence[Row]) -> dict[str, list[Row]]:
    """The differences of each method that ours was compared with."""
    return {
        other: [row for row in differences if row["other"] == other]
        for other in dict.fromkeys(row["other"] for row in differences)
    }


def best_values(overall: Sequence[Row]) -> dict[str, float]:
    """The best value of each column, to be set in bold."""
    best = {}
    for name in COLUMNS:
        values = [row[name] for row in overall if row[name] is not None]
        if values:
            best[name] = min(values) if name.startswith("lpips") else max(values)
    return best


def lpips_computed(rows: Sequence[Row]) -> bool:
    return any(row["lpips_image"] is not None for row in rows)


def markdown_table(evaluation: Evaluation) -> str:
    """Methods × metrics per region, for the terminal and for a pull request."""
    overall = [row for row in summarize(evaluation.rows, COLUMNS) if row["bucket"] is None]
    names = [name for name in COLUMNS if any(row[name] is not None for row in overall)]
    lines = ["| method | " + " | ".join(name.replace("_", " ") for name in names) + " |"]
    lines.append("| --- |" + " ---: |" * len(names))
    for row in overall:
        lines.append(
            f"| {row['method']} | " + " | ".join(shown_number(row[name], name) for name in names) + " |"
        )
    if not lpips_computed(evaluation.rows):
        lines.append(f"\n{NO_BACKBONE}")
    return "\n".join(lines)


def shown_number(value: float | None, metric: str) -> str:
    """Decibels with two digits, the others with four; a dash for what was not measured."""
    if value is None:
        return "–"
    text = f"{value:.2f}" if metric.startswith("psnr") else f"{value:.4f}"
    return text.replace("-", "−")


def png_address(picture: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(picture).decode()


def jpeg_address(tile: Any) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(encoded(tile, "JPEG")).decode()
