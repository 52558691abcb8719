"""`python -m benchmarks VERB`; `python -m benchmarks VERB --help` tells what it takes.

Only the verb's own files are imported: `speed train` is also for machines with torch and numpy alone.
"""

import argparse
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
    of_verb = argparse.ArgumentParser(prog=f"{parser.prog} {chosen.verb}")
    if chosen.verb == "speed":
        from benchmarks import speed

        of_verb.description = speed.__doc__
        speed.add_arguments(of_verb)
        return speed.run(of_verb.parse_args(chosen.options))
    if chosen.verb == "fits":
        from benchmarks import fits

        of_verb.description = fits.__doc__
        fits.add_arguments(of_verb)
        return fits.run(of_verb.parse_args(chosen.options))
    if chosen.verb == "scale":
        from benchmarks import scale

        of_verb.description = scale.__doc__
        scale.add_arguments(of_verb)
        return scale.run(of_verb.parse_args(chosen.options))
    if chosen.verb == "landmarks":
        from benchmarks import landmarks

        of_verb.description = landmarks.__doc__
        landmarks.add_arguments(of_verb)
        return landmarks.run(of_verb.parse_args(chosen.options))
    if chosen.verb == "parsing":
        from benchmarks import parsing

        of_verb.description = parsing.__doc__
        parsing.add_arguments(of_verb)
        return parsing.run(of_verb.parse_args(chosen.options))
    of_verb.parse_args(chosen.options)  # it takes none
    from benchmarks.published import published_table

    print(published_table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
