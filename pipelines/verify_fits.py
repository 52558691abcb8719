"""Hold tables of fits against the checksums that lie beside them."""

import json

from pipelines import storage
from pipelines.verify import Damage, Verified


def verify_fits(folder: str) -> Verified:
    """Read every table in the folder that has a record beside it."""
    damages, size = [], 0
    records = storage.list_files(folder, ".parquet.json", recursive=False)
    for record in records:
        table = record.removesuffix(".json")
        if what := _damage(table, record):
            damages.append(Damage(storage.name_of(table), "", what))
        else:
            size += storage.size(table)
    return Verified(folder, len(records), size, tuple(damages), kind="tables of fits")


def remove_damaged_fits(verified: Verified) -> None:
    """Remove damaged tables, and the sheet without which fits do not count as made: they are made again."""
    if verified.damages:
        storage.remove(f"{verified.folder}.jpg")
    for damage in verified.damages:
        for name in (damage.file, f"{damage.file}.json"):
            storage.remove(storage.join(verified.folder, name))


def _damage(table: str, record: str) -> str:
    text = storage.read_text(record)
    try:
        expected = json.loads(text)["sha256"]
    except (ValueError, KeyError, TypeError):
        return "its record cannot be read"
    try:
        return "" if storage.sha256(table) == expected else "its bytes are not those that were written"
    except FileNotFoundError:
        return "it is absent"
