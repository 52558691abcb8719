"""The paper's own numbers as a Markdown table; the report shows them too, so they live beside it."""

import argparse

from pipelines.published import CAVEAT, METHODS, SOURCE, TABLE


def add_arguments(_: argparse.ArgumentParser) -> None:
    """It takes none."""


def run(_: argparse.Namespace) -> int:
    """Print the table."""
    print(published_table())
    return 0


def published_table() -> str:
    """Data sets and metrics by method, with source and caveat."""
    lines = [f"{SOURCE}.", "", f"| data set | metric | {' | '.join(METHODS)} |"]
    lines.append("| --- | --- |" + " ---: |" * len(METHODS))
    for (dataset, metric), values in TABLE.items():
        cells = (f"{value:.2f}" if metric == "PSNR" else f"{value:.4f}" for value in values)
        lines.append(f"| {dataset} | {metric} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", CAVEAT])
