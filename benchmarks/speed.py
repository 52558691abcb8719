"""What the parts cost: `python -m benchmarks speed geometry`, or any other of its parts.

All cases of a group run in turn, so that what else the machine does falls on all of them alike; the ratio,
each case over the first of its group, is what to keep.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

if (
    __name__ == "__main__" and not __package__
):  # `python benchmarks/speed.py` looks for modules beside the file
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from facefill.errors import UserError

GEOMETRY = {
    "rasterizers": "z-buffers with and without gradients, ours and others'",
    "maps": "linear model, resampling between image and UV, fits",
    "projection": "from a picture and its fit to stored maps, against the usual stack",
    "job": "projecting and fitting shard sets with Ray on two workers",
}
PARTS = {
    "networks": "networks, JPEG decoding and, with weights, completion",
    "train": "a step of every training stage, the paper's whole schedule, what the runner adds",
    **GEOMETRY,
    "data": "reading shards, against webdataset, Ray Data and torch",
    "sharding": "writing shards, against Pillow's alignment, GNU tar, webdataset, Ray Data",
}
ROUNDS, TRAIN_ROUNDS = 10, 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    listed = "; ".join(f"{name}: {purpose}" for name, purpose in PARTS.items())
    parser.add_argument(
        "part",
        nargs="?",
        default="all",
        choices=["all", "geometry", *PARTS],
        help=f"{listed}; geometry: {', '.join(GEOMETRY)}; all of them by default",
    )
    parser.add_argument(
        "--rounds", type=int, help="how often everything is timed in turn (10; steps of training 3)"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default 1)")
    parser.add_argument("--weights", type=Path, help="weights folder of a run, such as runs/demo/weights")
    parser.add_argument("--peers", type=Path, help="folder with the compiled modules of Sim3DR and face3d")
    parser.add_argument("--realdata", type=Path, help="folder of genuine samples, for the Basel mean mesh")
    parser.add_argument(
        "--remote", help="a remote folder, such as s3://bucket/scratch, to read data from too"
    )
    parser.add_argument("--faces", type=int, default=2000, help="how many faces the job projects")


def measure(chosen: argparse.Namespace) -> Iterator[str]:
    """Sections of Markdown, each as soon as it is measured."""
    rounds = ROUNDS if chosen.rounds is None else chosen.rounds
    if rounds < 1 or chosen.threads < 1 or chosen.faces < 1:
        raise UserError("--rounds, --threads and --faces count from 1: give a number above 0")
    import torch

    from benchmarks.timing import LEGEND, machine

    torch.set_num_threads(chosen.threads)
    wanted = {"all": list(PARTS), "geometry": list(GEOMETRY)}.get(chosen.part, [chosen.part])
    yield machine()
    if {"networks", *GEOMETRY} & set(wanted):
        yield LEGEND
    if "networks" in wanted:
        from benchmarks.speed_networks import measure_networks

        yield measure_networks(chosen.weights, rounds)
    if "train" in wanted:
        from benchmarks.speed_train import measure_train

        yield "\n".join(measure_train(chosen.rounds or TRAIN_ROUNDS))
        yield measure_runner(chosen.remote)
    if "rasterizers" in wanted:
        from benchmarks.speed_rasterizers import measure_rasterizers

        yield measure_rasterizers(chosen.peers, chosen.realdata, rounds)
    if "maps" in wanted:
        from benchmarks.speed_maps import measure_maps

        yield measure_maps(rounds)
    if "projection" in wanted:
        from benchmarks.speed_projection import measure_projection

        yield measure_projection(chosen.peers, rounds)
    if "job" in wanted:
        from benchmarks.speed_job import measure_job

        yield measure_job(chosen.faces)
    if "data" in wanted:
        from benchmarks.speed_data import measure_data

        yield measure_data(rounds, chosen.remote)
    if "sharding" in wanted:
        from benchmarks.speed_sharding import measure_sharding

        yield measure_sharding(rounds)


def measure_runner(remote: str | None) -> str:
    """Markdown: what the runner costs, or that it cannot run here."""
    try:
        from benchmarks import speed_train_runner
    except ModuleNotFoundError as absent:
        return f"The runner is not timed: {absent.name} is not installed."
    return "\n".join(speed_train_runner.measure_runner(remote=remote))


def run(chosen: argparse.Namespace) -> int:
    """Print the sections; a user's mistake is one line and exit status 2."""
    try:
        for section in measure(chosen):
            print(f"{section}\n", flush=True)
    except UserError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    return 0


def main() -> int:
    """`python -m benchmarks.speed` and `python benchmarks/speed.py`."""
    parser = argparse.ArgumentParser(prog="benchmarks/speed.py", description=__doc__)
    add_arguments(parser)
    return run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
