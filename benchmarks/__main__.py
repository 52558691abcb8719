"""`python -m benchmarks VERB`; `python -m benchmarks VERB --help` tells what it takes.

A verb is a file here with `add_arguments` and `run`. Only its own imports are loaded, for `speed train` is
also run where there are torch and numpy alone.
"""

import argparse
import importlib
import sys

from facefill.errors import UserError

VERBS = {
    "speed": "time networks, training, geometry, data and sharding",
    "fits": "how good fits are",
    "scale": "what shard sets cost as they grow",
    "landmarks": "how exact the landmark detector is",
    "parsing": "how well segmenters parse faces",
    "published": "the paper's own numbers",
}


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
    listed = "; ".join(f"{verb}: {purpose}" for verb, purpose in VERBS.items())
    parser.add_argument("verb", choices=VERBS, help=listed)
    parser.add_argument("options", nargs=argparse.REMAINDER, help="those of the verb")
    chosen = parser.parse_args(arguments)
    verb = importlib.import_module(f"benchmarks.{chosen.verb}")
    of_verb = argparse.ArgumentParser(prog=f"{parser.prog} {chosen.verb}", description=verb.__doc__)
    verb.add_arguments(of_verb)
    return verb.run(of_verb.parse_args(chosen.options))


if __name__ == "__main__":
    sys.exit(main())
