"""`python -m cluster render SPEC OUT`: write the files of a cluster from its spec."""

import argparse
import sys
from pathlib import Path

from cluster.errors import SpecError
from cluster.render import render, write_files
from cluster.spec import load_spec


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0, or 2 for a mistake in the spec."""
    parser = argparse.ArgumentParser(
        prog="python -m cluster", description="Files of a cluster from one small spec."
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser(
        "render",
        help="write Dockerfile, KubeRay RayJob and ray up file",
        epilog="example: python -m cluster render cluster/spec.yaml rendered/",
    )
    verb.add_argument("spec", type=Path, help="YAML file like cluster/spec.yaml")
    verb.add_argument("out", type=Path, help="folder for the rendered files")
    options = parser.parse_args(arguments)
    try:
        paths = write_files(render(load_spec(options.spec)), options.out)
    except SpecError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for path in paths:
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
