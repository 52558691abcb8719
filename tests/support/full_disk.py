"""A command that meets a full disk: `unshare --mount python full_disk.py CONFIG DISK FREE_BYTES`.

Prints as one line of JSON what `facefill shard` did when the disk got full, what was left there, and what the
same command did after space was made.
"""

import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path

from pipelines.cli import main
from pipelines.cluster_session import session

DISK_BYTES = 1 << 20


def shard(config: str) -> tuple[int, list[str]]:
    """Exit status and the lines on standard error that are no progress."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        status = main(["shard", config])
    return status, [line for line in said.getvalue().splitlines() if line.startswith("facefill:")]


def run(config: str, disk: Path, free: int) -> None:
    """Fill the disk up to `free` bytes, shard, remove what filled it, shard again."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "none", str(disk)], check=True)
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(DISK_BYTES - free))
    with session(address="local", num_cpus=1):
        status, lines = shard(config)
        left = shards_on(disk)
        ballast.unlink()
        again, _ = shard(config)
    print(
        json.dumps({"status": status, "lines": lines, "left": left, "again": again, "all": shards_on(disk)})
    )


def shards_on(disk: Path) -> dict[str, str]:
    """The set's files by name, as hexadecimal digits."""
    folder = disk / "run" / "shards"
    found = [file for file in folder.rglob("*") if file.is_file()]
    return {str(file.relative_to(folder)): file.read_bytes().hex() for file in found}


if __name__ == "__main__":
    run(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
