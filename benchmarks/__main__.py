"""`python -m benchmarks speed` and `python -m benchmarks published`."""

import argparse
import sys
from pathlib import Path

from facefill.errors import UserError


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    speed = verbs.add_parser("speed", help="time networks, geometry, decoding and, with weights, completion")
    speed.add_argument("--weights", type=Path, help="weights folder of a run, such as runs/demo/weights")
    speed.add_argument("--threads", type=int, default=1, help="threads of torch (default 1)")
    speed.add_argument("--rounds", type=int, default=10, help="how often everything is timed in turn")
    verbs.add_parser("published", help="the paper's own numbers")
    chosen = parser.parse_args()
    try:
        if chosen.verb == "published":
            from benchmarks.published import published_table

            print(published_table())
        else:
            from benchmarks.speed import measure_speed

            print(measure_speed(chosen.weights, chosen.threads, chosen.rounds))
    except UserError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
