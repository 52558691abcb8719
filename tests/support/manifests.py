"""A manifest of rows in memory, written as the shard writer writes it from its parts."""

from dataclasses import replace
from itertools import groupby

from pipelines.manifest import Manifest, save_tables
from pipelines.rows import table_of


def save_manifest(manifest: Manifest) -> None:
    """All of the manifest's files."""
    by_shard = (list(rows) for _, rows in groupby(manifest.rows, key=lambda row: (row.split, row.shard)))
    tables_by_split = ((rows[0].split, table_of(rows)) for rows in by_shard)
    save_tables(replace(manifest, rows=()), tables_by_split, len(manifest.rows))
