"""The command `facefill`: parse, call, and turn a user's mistake into one line and exit status 2."""

import argparse
import os
import signal
import sys
from pathlib import Path

from facefill.errors import UserError

DESCRIPTION = """3D-aware face completion: from raw face datasets to completed photographs.

  facefill run demo                                  the whole chain on rendered faces, no licensed file
  needed facefill run celeba_sample datasets.0.root=FOLDER  the same on CelebA photographs
  facefill complete photo.png --mask mask.png --weights runs/demo/weights --out out/
"""

KINDS = {
    "synthesize": "render stand-ins for the datasets, in the layouts of their releases",
    "shard": "align raw pictures and write them as WebDataset tars with a manifest",
    "fit": "fit the morphable model to every picture of the shards",
    "project": "unwrap texture, visibility and albedo into UV shards",
    "train": "train the stages that are not trained yet",
    "sweep": "search over the inpainter's settings",
    "evaluate": "complete held-back pictures, measure, write the report",
}


def build_parser() -> argparse.ArgumentParser:
    """All verbs and their options."""
    parser = argparse.ArgumentParser(
        prog="facefill", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)

    run = verbs.add_parser("run", help="walk the whole chain of a config, skipping what is valid")
    add_config_arguments(run)
    for kind, purpose in KINDS.items():
        verb = verbs.add_parser(kind, help=f"{purpose} (one arrow of `run`)")
        add_config_arguments(verb)

    complete = verbs.add_parser("complete", help="complete a photograph under a mask")
    add_photo_arguments(complete)
    views = verbs.add_parser("views", help="the completed face from five viewpoints")
    add_photo_arguments(views)
    return parser


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """CONFIG [key=value …]."""
    parser.add_argument("config", help="YAML file, or the name of a packaged config (demo, celeba_sample)")
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="key=value",
        help="dotted setting, e.g. stages.inpaint.training.steps=500",
    )


def add_photo_arguments(parser: argparse.ArgumentParser) -> None:
    """What `complete` and `views` take."""
    parser.add_argument("photo", type=Path, help="photograph (any size)")
    parser.add_argument(
        "--mask",
        type=Path,
        help="picture of the photograph's size, white (above 127) = missing; "
        "without it what the segmenter calls an occluder",
    )
    parser.add_argument(
        "--landmarks",
        type=Path,
        help="text file with 5 or 68 lines `x y`; not needed for CelebA-aligned pictures",
    )
    parser.add_argument(
        "--weights",
        type=Path,
        default=Path("runs/demo/weights"),
        help="weights folder (default: %(default)s)",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("completed"), help="output folder (default: %(default)s)"
    )
    parser.add_argument("--iterations", type=int, default=2, help="refinement passes (default: %(default)s)")


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; 0 done, 2 a mistake that the printed line names, 130 stopped by Ctrl-C."""
    options = build_parser().parse_args(arguments)
    try:
        if options.verb in ("complete", "views"):
            from pipelines.complete import complete_files

            complete_files(options)
        else:
            from pipelines.config_file import load_config
            from pipelines.workflow import run_workflow

            config = load_config(options.config, options.settings)
            run_workflow(config, None if options.verb == "run" else options.verb)
    except UserError as error:
        print(f"facefill: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("facefill: stopped; the same command continues where it was", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    return 0
