"""`python -m benchmarks speed [PART]`, `scale`, `fits`, `parsing` and `published`."""

import argparse
import sys

from benchmarks import fits, parsing, scale, speed
from facefill.errors import UserError


def main(arguments: list[str] | None = None) -> int:
    """Run one benchmark; 2 for a mistake that the printed line names."""
    try:
        return run(arguments)
    except UserError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2


def run(arguments: list[str] | None) -> int:
    """Read the command line and run what it names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    speed.add_arguments(
        verbs.add_parser("speed", help="time networks and geometry", description=speed.__doc__)
    )
    fits.add_arguments(verbs.add_parser("fits", help="how good fits are", description=fits.__doc__))
    scale.add_arguments(
        verbs.add_parser("scale", help="what shard sets cost as they grow", description=scale.__doc__)
    )
    parsing.add_arguments(
        verbs.add_parser("parsing", help="how well segmenters parse faces", description=parsing.__doc__)
    )
    verbs.add_parser("published", help="the paper's own numbers")
    chosen = parser.parse_args(arguments)
    if chosen.verb == "published":
        from benchmarks.published import published_table

        print(published_table())
        return 0
    if chosen.verb == "scale":
        return scale.run(chosen)
    if chosen.verb == "fits":
        return fits.run(chosen)
    if chosen.verb == "parsing":
        return parsing.run(chosen)
    return speed.run(chosen)


if __name__ == "__main__":
    sys.exit(main())
