"""The verbs `verify` and `inspect`: finished shard sets are read again, and looked into."""

import argparse
import contextlib
import os

from facefill.errors import UserError
from pipelines import cluster_session, storage
from pipelines.contact_sheet import encoded
from pipelines.inspection import inspect
from pipelines.manifest import load_manifest
from pipelines.overheard import overheard
from pipelines.progress import Progress
from pipelines.verify import Verified, describe, find, remove_damaged, verify_set
from pipelines.verify_fits import remove_damaged_fits, verify_fits

KINDS = {"jpg": "JPEG", "jpeg": "JPEG", "png": "PNG"}


def verify_files(options: argparse.Namespace) -> None:
    """Verify every set below a folder, on the cluster that RAY_ADDRESS names or else in this process, and all
    fits.

    Raises UserError when anything is damaged or unfinished.
    """
    there = find(options.folder)
    progress = Progress()
    joined = "RAY_ADDRESS" in os.environ
    with cluster_session.session() if joined else contextlib.nullcontext(), overheard(progress.say):
        found = [verify_with_progress(folder, progress, None if joined else 0) for folder in there.finished]
    fits = [verify_fits(folder) for folder in there.fits]
    for line in [*describe([*found, *fits]), *(f"{folder}: not finished" for folder in there.unfinished)]:
        print(line)
    damaged = [one for one in (*found, *fits) if one.damages]
    if not damaged and there.unfinished:
        raise UserError(
            f"{', '.join(there.unfinished)}: no finished shard set here; the command that began it goes on"
        )
    if not damaged:
        return
    files = len({(one.folder, damage.file) for one in damaged for damage in one.damages})
    if not options.remove_damaged:
        raise UserError(
            f"{files} damaged files; `facefill verify {options.folder} --remove-damaged` removes them, and "
            "the command that made them writes them again"
        )
    for one in damaged:
        (remove_damaged_fits if one in fits else remove_damaged)(one)
    raise UserError(f"{files} damaged files are removed; the command that made them writes them again")


def verify_with_progress(folder: str, progress: Progress, workers: int | None) -> Verified:
    """One set, with a line that moves."""
    label = f"verify {folder}"
    verified = verify_set(
        folder, workers=workers, on_progress=lambda done, total, _: progress.update(label, done, total)
    )
    progress.drop(label)
    return verified


def inspect_files(options: argparse.Namespace) -> None:
    """Print what a set holds, or one of its samples, and write the sheet that was asked for."""
    ending = storage.name_of(options.sheet or "").rsplit(".", 1)[-1].lower()
    if options.sheet and ending not in KINDS:
        raise UserError(f"--sheet {options.sheet}: expected a name that ends with .jpg or .png")
    if options.count < 1:
        raise UserError(f"--count {options.count}: a sheet needs at least one sample")
    lines, sheet = inspect(load_manifest(options.folder), options.split, options.sample, options.count)
    for line in lines:
        print(line)
    if options.sheet:
        storage.write_bytes(options.sheet, encoded(sheet, KINDS[ending]))
        print(options.sheet)
